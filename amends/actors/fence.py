"""The fence: what makes a service safe to ask twice, late, or in the wrong order.

One row for each step it was asked to do or undo, kept in the service's own database and
written in the transaction of the effect, so the two are never apart. What a message means
given that row is `judge`, a pure function; running handlers is `serving`'s business.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from enum import Enum, auto
from types import NoneType
from typing import Any, Final, NamedTuple

import msgspec

from amends.actors.database.port import Database
from amends.actors.fence_sql import STATEMENTS
from amends.protocol import codec
from amends.protocol.errors import AmendsError, InputError
from amends.protocol.messages import Answer, Do, Done, IdempotencyKey, Message, Refused, Resolve, SagaId, Undo

UNDONE: Final = "undone"
"""What a step that has begun, and is being undone, becomes."""

REFUSED: Final = "refused: "
"""The same, before the reason; its handler refused in the end, and what it had done before is undone first."""

LATE: Final = "late: "
"""The same, before the result of a step that was done when it had been given up; it is undone though nobody asks."""


class Row(NamedTuple):
    """What a service remembers of a step; its columns are explained in `fence_sql`."""

    state: str
    token: int
    command: str | None
    payload: str | None
    answer: str | None
    at: float = 0.0
    worker: str | None = None

    @property
    def refusal(self) -> str | None:
        """The reason for which a step that has begun is refused once it is undone; None if there is none."""
        if self.state == "begun" and self.answer is not None and self.answer.startswith(REFUSED):
            return self.answer.removeprefix(REFUSED)
        return None

    @property
    def is_given_up(self) -> bool:
        """Whether its saga has heard that it was not done, and won't be."""
        return self.state == "refused" or (self.state == "undone" and self.answer is None)

    @property
    def is_late(self) -> bool:
        """Whether it was done when it had been given up, and is still to be undone."""
        return self.state == "begun" and self.answer is not None and self.answer.startswith(LATE)

    @property
    def result(self) -> str | None:
        """The result of what was done and is not undone yet, as JSON; None if there is none."""
        if self.state == "done":
            return self.answer or "null"
        return (self.answer or "").removeprefix(LATE) if self.is_late else None


class FenceDamaged(AmendsError):  # noqa: N818 - reads as the fact it reports
    """What is remembered of a saga can't be read, so nothing may be done about it."""

    def __init__(self, saga_id: str) -> None:
        super().__init__(f"what is remembered of instance {saga_id} is damaged")


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


_STATES: Final = ("begun", "done", "refused", "undone")
_TEXT: Final = (str, NoneType)

# Before Python 3.12 a member looked up in its enum costs many times a global, and this one is for every message.
_RUN = Verdict.RUN


def judge(message: Message, row: Row | None, newest_token: int, now_at: float) -> Verdict:
    """What `message` means, given the step's row and the newest token seen for its saga.

    RUN runs the handler, REPEAT gives the recorded answer again, UNDO runs the undo handler, BURY leaves a
    tombstone, WAIT is for a step that has begun, outside or with `Later`; the others are answers or errors as they are
    named.
    """
    if message.token < newest_token:
        return Verdict.OUTDATED
    if isinstance(message, Do):
        return _judge_do(message, row, now_at)
    if row is None:
        return Verdict.BURY
    if row.is_late:
        return Verdict.UNDO if isinstance(message, Undo) else Verdict.IS_NEVER
    if row.state == "begun":
        return Verdict.WAIT
    if isinstance(message, Undo):
        return {"done": Verdict.UNDO, "refused": Verdict.BURY}.get(row.state, Verdict.IS_UNDONE)
    assert isinstance(message, Resolve)
    return Verdict.IS_NEVER if row.state == "undone" else Verdict.REPEAT


def _judge_do(message: Do, row: Row | None, now_at: float) -> Verdict:
    if row is None:
        return Verdict.EXPIRED if now_at >= message.expires_at else _RUN
    if row.state == "undone" or row.is_late:
        return Verdict.IS_CANCELLED
    if row.command != message.command or row.payload != message.payload.decode():
        return Verdict.OTHER_PAYLOAD
    return Verdict.WAIT if row.state == "begun" else Verdict.REPEAT


class Fence:
    """The rows, over the connection of the service that owns them. Never commits.

    A turn loads what is known of its sagas at once, and writes what has changed at once: `load`, then any number of
    look-ups and changes, then `write`.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._sql = STATEMENTS[db.dialect]
        # What is known of the turn's sagas: tokens by step; and the whole rows this turn has changed, or has loaded.
        self._tokens: dict[str, dict[str, int]] = {}
        self._changed: dict[tuple[str, str], Row] = {}
        self._loaded: dict[tuple[str, str], Row] = {}
        self._damaged: set[str] = set()

    def load(self, saga_ids: Iterable[SagaId]) -> None:
        """Begin a turn about these sagas, and forget the one before."""
        self._changed.clear()
        self._loaded.clear()
        self._damaged.clear()
        self._tokens = {saga_id: {} for saga_id in saga_ids}
        try:
            if len(self._tokens) == 1:
                # The usual turn of a quiet system, and four times as fast without the list.
                self._load(self._sql.load_one, next(iter(self._tokens)))
            elif self._tokens:
                self._load(self._sql.load_some, codec.encode(list(self._tokens)).decode())
        except (UnicodeDecodeError, FenceDamaged):
            self._load_one_by_one()

    def load_more(self, saga_id: SagaId) -> bool:
        """A turn that has begun is about this saga, too; False if another process's is at this moment."""
        if saga_id in self._tokens:
            return True
        if not self._db.lock(saga_id):
            return False
        self._tokens[saga_id] = {}
        try:
            self._load(self._sql.load_one, saga_id)
        except (UnicodeDecodeError, FenceDamaged):
            self._damaged.add(saga_id)
        return True

    def _load(self, statement: str, value: str) -> None:
        for saga_id, step, token, *rest in self._db.execute(statement, (value,)).fetchall():
            if type(token) is not int:
                raise FenceDamaged(saga_id)
            self._tokens[saga_id][step] = token
            if rest:
                self._loaded[saga_id, step] = Row(*rest)

    def _load_one_by_one(self) -> None:
        """Some row is damaged: find out whose, and let the others go on."""
        for saga_id in self._tokens:
            try:
                self._load(self._sql.load_one, saga_id)
            except (UnicodeDecodeError, FenceDamaged):
                self._damaged.add(saga_id)

    def look_up(self, saga_id: SagaId, step: str) -> tuple[Row | None, int]:
        """The step's row, if there is one, and the newest token seen for its saga (0 if none); or FenceDamaged."""
        if saga_id in self._damaged:
            raise FenceDamaged(saga_id)
        tokens = self._tokens[saga_id]
        if not tokens:
            return None, 0
        changed = self._changed.get((saga_id, step))
        row = changed if changed is not None else self._read(saga_id, step) if step in tokens else None
        return row, max(tokens.values())

    def record_do(self, message: Do, state: str, answer: str | None, at: float) -> None:
        """A step was done or refused, or has begun."""
        self._change(message, Row(state, message.token, message.command, message.payload.decode(), answer, at))

    def record_answer(self, message: Message, state: str, answer: str | None, at: float) -> None:
        """What became of a step that had begun."""
        row, _ = self.look_up(message.saga_id, message.step)
        if row is not None and row.state == "begun":
            worker = row.worker if state == "begun" else None
            self._change(message, row._replace(state=state, answer=answer, at=at, worker=worker))

    def record_undone(self, message: Message, at: float) -> None:
        """The step is undone, or can't be done any more."""
        row, _ = self.look_up(message.saga_id, message.step)
        if row is None:
            row = Row("undone", message.token, None, None, None)
        token = max(row.token, message.token)
        self._change(message, row._replace(state="undone", token=token, answer=row.result, at=at, worker=None))

    def record_late(self, message: Message, row: Row, result: str, at: float) -> None:
        """A step was done when it had been given up."""
        self._change(message, row._replace(state="begun", answer=LATE + result, at=at, worker=None))

    def record_undoing(self, message: Message, becomes: str, at: float) -> None:
        """The undo of a step that had begun has itself begun."""
        self.record_answer(message, "begun", becomes, at)

    def record_token(self, message: Message, at: float) -> None:
        """A newer grant than the row's own has asked about it."""
        row, _ = self.look_up(message.saga_id, message.step)
        if row is not None and row.token < message.token:
            self._change(message, row._replace(token=message.token, at=at))

    def record_worker(self, message: Message, at: float) -> None:
        """This process works on the step outside the database from now on, where there may be others."""
        row, _ = self.look_up(message.saga_id, message.step) if self._db.worker is not None else (None, 0)
        if row is not None:
            self._change(message, row._replace(worker=self._db.worker, at=at))

    def clear_worker(self, message: Message) -> None:
        """This process does not work on it any more, and does not know what became of it."""
        row, _ = self.look_up(message.saga_id, message.step) if self._db.worker is not None else (None, 0)
        if row is not None and row.worker == self._db.worker:
            self._change(message, row._replace(worker=None))

    def is_elsewhere(self, row: Row, limit_s: float, now_at: float) -> bool:
        """Whether another process, which is alive, works on the step, and its time is not over."""
        if row.worker is None or row.worker == self._db.worker or now_at >= row.at + limit_s:
            return False
        return self._db.is_at_work(row.worker)

    def write(self) -> None:
        """Put what this turn has changed into the database."""
        if not self._changed:
            return
        rows = [(saga_id, step, *row) for (saga_id, step), row in self._changed.items()]
        if self._sql.write is None:
            self._db.executemany(self._sql.write_each, rows)
        else:
            # In one value, which costs a fraction of what an array for each column does.
            self._db.execute(self._sql.write, (codec.encode([_without_nul(row) for row in rows]).decode(),))
        self._changed.clear()

    def late(self) -> list[IdempotencyKey]:
        """The steps on disk that were done when they had been given up, and are still to be undone."""
        keys = []
        for saga_id, step in self._db.execute(self._sql.late).fetchall():
            # No message can name a step whose key is damaged.
            with suppress(UnicodeDecodeError):
                keys.append(IdempotencyKey(SagaId(saga_id.decode()), step.decode()))
        return keys

    def prune(self, before_at: float, limit: int, later: Sequence[str] = ()) -> int:
        """Forget up to `limit` rows older than `before_at`; how many it were. Calls outside that began are kept.

        Args:
            later: commands whose handlers may answer `Later`: a step of theirs that has begun is asked again and again
                while its saga is open, and written each time, so one that is old belongs to a saga that has ended.
        """
        # Ids begin with their time of birth in milliseconds, so the oldest stand first and no other row is looked at.
        born_before = f"{max(0, int(before_at * 1000)):012x}"
        values = (born_before, before_at, codec.encode(list(later)).decode(), limit)
        self._db.execute(self._sql.prune, values)
        return self._db.changes()

    def _read(self, saga_id: SagaId, step: str) -> Row | None:
        loaded = self._loaded.get((saga_id, step))
        if loaded is not None:
            return loaded
        try:
            found: tuple[Any, ...] | None = self._db.execute(self._sql.row, (saga_id, step)).fetchone()
        except UnicodeDecodeError:
            raise FenceDamaged(saga_id) from None
        if found is None:
            return None
        row = Row(*found)
        if row.state not in _STATES or any(type(t) not in _TEXT for t in (row.command, row.payload, row.answer)):
            raise FenceDamaged(saga_id)
        return row

    def _change(self, message: Message, row: Row) -> None:
        self._tokens[message.saga_id][message.step] = row.token
        self._changed[message.saga_id, message.step] = row


def _without_nul(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """PostgreSQL's texts have no NUL; only a refusal's reason may have one."""
    if any(type(value) is str and "\0" in value for value in row):
        return tuple(value.replace("\0", "\ufffd") if type(value) is str else value for value in row)
    return row


def recorded(message: Message, row: Row) -> Answer:
    """The answer that a step got, to be given again; or FenceDamaged."""
    if row.state != "done":
        return Refused(row.answer or "")
    result = (row.answer or "null").encode()
    try:
        codec.decode(object, result, "fence")
    except InputError:
        # The journal would take it as it is, and no program could read that instance any more.
        raise FenceDamaged(message.saga_id) from None
    return Done(msgspec.Raw(result))
