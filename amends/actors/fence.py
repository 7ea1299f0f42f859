"""The fence: what makes a service safe to ask twice, late, or in the wrong order.

One row for each step it was asked to do or undo, kept in the service's own database and
written in the transaction of the effect, so the two are never apart. What a message means
given that row is `judge`, a pure function; running handlers is the service's business.
"""

from enum import Enum, auto
from typing import Final, NamedTuple

import apsw

from amends.protocol.messages import Do, Message, Resolve, SagaId, Undo

SCRIPTS: Final = (
    """
    create table amends_fence (
        saga_id text not null,
        step    text not null,
        state   text not null check (state in ('begun', 'done', 'refused', 'undone')),
        token   integer not null,
        command text,
        payload text,
        answer  text,
        at      real not null,
        primary key (saga_id, step)
    ) without rowid;
    """,
)
"""Columns: `command` and `payload` are what was asked, null for a tombstone; `answer` is the result as JSON,
or the reason of a refusal; `at` is unix seconds."""


class Row(NamedTuple):
    """What a service remembers of a step."""

    state: str
    token: int
    command: str | None
    payload: str | None
    answer: str | None


class Verdict(Enum):
    """What to do about a message."""

    RUN = auto()
    REPEAT = auto()
    UNDO = auto()
    BURY = auto()
    IS_UNDONE = auto()
    IS_CANCELLED = auto()
    IS_NEVER = auto()
    WAIT = auto()
    OUTDATED = auto()
    OTHER_PAYLOAD = auto()
    EXPIRED = auto()


def judge(message: Message, row: Row | None, newest_token: int, now_at: float) -> Verdict:
    """What `message` means, given the step's row and the newest token seen for its saga.

    RUN runs the handler, REPEAT gives the recorded answer again, UNDO runs the undo handler, BURY leaves a
    tombstone, WAIT waits for a call that has begun outside; the others are answers or errors as they are named.
    """
    if message.token < newest_token:
        return Verdict.OUTDATED
    if isinstance(message, Do):
        return _judge_do(message, row, now_at)
    if row is None:
        return Verdict.BURY
    if row.state == "begun":
        return Verdict.WAIT
    if isinstance(message, Undo):
        return {"done": Verdict.UNDO, "refused": Verdict.BURY}.get(row.state, Verdict.IS_UNDONE)
    assert isinstance(message, Resolve)
    return Verdict.IS_NEVER if row.state == "undone" else Verdict.REPEAT


def _judge_do(message: Do, row: Row | None, now_at: float) -> Verdict:
    if row is None:
        return Verdict.EXPIRED if now_at >= message.expires_at else Verdict.RUN
    if row.state == "undone":
        return Verdict.IS_CANCELLED
    if row.command != message.command or row.payload != message.payload.decode():
        return Verdict.OTHER_PAYLOAD
    return Verdict.WAIT if row.state == "begun" else Verdict.REPEAT


class Fence:
    """The rows, over the connection of the service that owns them. Never commits."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db

    def look_up(self, saga_id: SagaId, step: str) -> tuple[Row | None, int]:
        """The step's row, if there is one, and the newest token seen for its saga (0 if none)."""
        found, newest = None, 0
        for name, *values in self._db.execute(
            "select step, state, token, command, payload, answer from amends_fence where saga_id = ?", (saga_id,)
        ):
            row = Row(*values)
            newest = max(newest, row.token)
            if name == step:
                found = row
        return found, newest

    def record_do(self, message: Do, state: str, answer: str | None, at: float) -> None:
        """A step was done or refused, or has begun."""
        self._db.execute(
            "insert into amends_fence values (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                message.saga_id,
                message.step,
                state,
                message.token,
                message.command,
                message.payload.decode(),
                answer,
                at,
            ),
        )

    def record_answer(self, saga_id: SagaId, step: str, state: str, answer: str | None, at: float) -> None:
        """What became of a step that had begun."""
        self._db.execute(
            "update amends_fence set state = ?, answer = ?, at = ? where saga_id = ? and step = ? and state = 'begun'",
            (state, answer, at, saga_id, step),
        )

    def record_undone(self, message: Message, at: float) -> None:
        """The step is undone, or can't be done any more."""
        self._db.execute(
            "insert into amends_fence (saga_id, step, state, token, at) values (?, ?, 'undone', ?, ?)"
            " on conflict do update set state = 'undone', token = excluded.token, at = excluded.at",
            (message.saga_id, message.step, message.token, at),
        )

    def record_token(self, message: Message) -> None:
        """A newer grant than the row's own has asked about it."""
        self._db.execute(
            "update amends_fence set token = ? where saga_id = ? and step = ? and token < ?",
            (message.token, message.saga_id, message.step, message.token),
        )

    def prune(self, before_at: float, limit: int) -> int:
        """Forget up to `limit` rows older than `before_at`; how many it were. Calls outside that began are kept."""
        self._db.execute(
            "delete from amends_fence where (saga_id, step) in"
            " (select saga_id, step from amends_fence where at < ? and state <> 'begun' limit ?)",
            (before_at, limit),
        )
        return self._db.changes()
