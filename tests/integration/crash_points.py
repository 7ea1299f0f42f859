"""Named moments at which a program that embeds amends can be killed, each the edge of one production method.

A point says which method it stands before or after, and which of its calls count. `arm` wraps
that method so that the k-th such call ends the process with SIGKILL, as no program can prevent;
all other calls go through unchanged. What is to hold afterwards is the business of `crash_rounds`.
"""

import functools
import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import apsw

from amends import Completed
from amends.actors.database import file
from amends.actors.fence import Fence
from amends.actors.journal.journal import Journal
from amends.actors.journal.messages import History, ListOpen, Open
from amends.actors.journal.sqlite import SqliteStore, _Lock
from amends.actors.running import Running
from amends.actors.saga import SagaActor
from amends.actors.service import Service
from amends.actors.serving import Serving
from amends.actors.transactions import Transactions
from amends.actors.transport.in_process import InProcess
from amends.protocol.events import CancelAnswer, CancelAsked, Recovered, Replied
from amends.protocol.messages import Do, Resolve, Undo
from amends.protocol.records import Decided
from amends.protocol.state import Compensated
from amends.supervisor.actor import Actor
from amends.supervisor.mailbox import Caller

SLOW_S = 0.1
"""How long others go on while a slow call hangs; who waits for that call, as all should, does nothing in it."""

Hit = Callable[[], None]


@dataclass(frozen=True)
class Point:
    """One edge of one method.

    Attributes:
        of: the class or module whose attribute `method` is.
        after: the kill comes when the call has returned; else before it begins.
        counts: whether a call counts, given its arguments; asked before the call, whichever edge it is.
        in_transaction: the kill comes when the connection among the arguments is about to commit.
        slow: the call hangs for a while before the kill, as on a slow disk, and everybody else goes on meanwhile.
        recovery: it is only reached where an earlier process left something open.
    """

    name: str
    of: Any
    method: str
    after: bool = False
    counts: Callable[..., bool] = lambda *_, **__: True
    in_transaction: bool = False
    slow: bool = False
    recovery: bool = False


def arm(point: Point, k: int) -> None:
    """Kill this process at the `k`-th time it comes to `point`."""
    occurrences = itertools.count(1)  # its next step is atomic, and any thread may come by

    def hit() -> None:
        if next(occurrences) == k:
            if point.slow:
                threading.Event().wait(SLOW_S)
            os.kill(os.getpid(), signal.SIGKILL)

    wrapped = getattr(point.of, point.method)

    @functools.wraps(wrapped)
    def call(*args: Any, **kwargs: Any) -> Any:
        counted = point.counts(*args, **kwargs)
        if counted and point.in_transaction:
            return _hit_at_commit(hit, wrapped, args, kwargs)
        if counted and not point.after:
            hit()
        value = wrapped(*args, **kwargs)
        if counted and point.after:
            hit()
        return value

    setattr(point.of, point.method, call)


def _hit_at_commit(hit: Hit, wrapped: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call with every statement of the transaction run and its commit begun, the moment of the hit."""

    def commit() -> bool:
        hit()
        return False  # which lets the commit go on

    db = _connection(args)
    db.set_commit_hook(commit)
    try:
        return wrapped(*args, **kwargs)
    finally:
        db.set_commit_hook(None)


def _connection(args: Iterable[Any]) -> apsw.Connection:
    for arg in args:
        for found in (arg, getattr(arg, "_db", None)):
            connection = getattr(found, "connection", found)
            if isinstance(connection, apsw.Connection):
                return connection
    raise AssertionError("no connection among the arguments")


def _told(*kinds: type) -> Callable[..., bool]:
    """Whether the message a method was called with is one of these."""
    return lambda _, message: isinstance(message, kinds)


def _turn_with(kind: type) -> Callable[..., bool]:
    """Whether a service's turn was told such a message."""
    return lambda _, told, *rest: any(isinstance(message, kind) for message in told)


def _sending(kind: type) -> Callable[..., bool]:
    """Whether an instance's turn is about to let such a message go, itself."""
    return lambda actor: isinstance(actor, SagaActor) and any(isinstance(m, kind) for _, m in actor._outbox)


def _writes(kind: str, word: str = "") -> Callable[..., bool]:
    """Whether a batch holds a record of that kind with this word in it."""
    return lambda _, batch: any(r.type == kind and word in r.body for r in batch.records)


def _decides(actor: SagaActor, records: Iterable[object], *_: Any, **__: Any) -> bool:
    return any(isinstance(record, Decided) for record in records)


def _deciding(kind: type) -> Callable[..., bool]:
    return lambda _, event: isinstance(event, kind)


def _answers(*values: type) -> Callable[..., bool]:
    return lambda _, value: isinstance(value, values)


def _for_an_outcome(caller: Caller, value: object) -> bool:
    return isinstance(value, Completed | Compensated)


POINTS = (
    # Opening.
    Point("lock held, file not open", _Lock, "__init__", after=True),
    Point("database open, not migrated", file, "_migrate"),
    Point("migration run, not committed", file, "_migrate", in_transaction=True),
    Point("store opened, token taken", SqliteStore, "__init__", after=True),
    # Starting.
    Point("start asked, journal not written", Journal, "on_receive", after=True, counts=_told(Open)),
    Point("journal transaction begun, not committed", SqliteStore, "write", in_transaction=True),
    Point("journal committed, nobody told", SqliteStore, "write", after=True),
    Point("start on disk, nobody told", SqliteStore, "write", after=True, counts=_writes("started")),
    Point("instance begun, nothing sent", SagaActor, "on_start", after=True),
    Point("caller about to be told accepted", Caller, "tell", counts=_answers(str)),
    Point("caller told accepted", Caller, "tell", after=True, counts=_answers(str)),
    # A step.
    Point("command about to leave", Actor, "_send", counts=_sending(Do)),
    Point("command left", Actor, "_send", after=True, counts=_sending(Do)),
    Point("service took the command, handler not run", Service, "on_receive", after=True, counts=_told(Do)),
    Point("service's transaction begun, handler not run", Fence, "load", after=True),
    Point("handler about to run", Running, "_do"),
    Point("handler ran, nothing committed", Running, "_do", after=True),
    Point("fence written, not committed", Fence, "write", after=True, counts=lambda fence: bool(fence._changed)),
    Point("turn rolled back, not run again", Transactions, "roll_back", after=True),
    Point("service committed, answer not sent", Serving, "_serve_in_transaction", after=True, counts=_turn_with(Do)),
    Point("answer made, not left", InProcess, "to_saga", after=True),
    Point("answer arrived, nothing decided", SagaActor, "_decide", counts=_deciding(Replied)),
    Point("answer taken, nothing appended", SagaActor, "_decide", after=True, counts=_deciding(Replied)),
    # The decision.
    Point("decided, not appended", SagaActor, "_append", counts=_decides),
    Point("decision appended, not written", Journal, "_on_append", after=True, counts=lambda _, a: a.forced),
    Point("decided forward on disk, retriable not sent", SqliteStore, "write", True, _writes("decided", "forward")),
    Point("decided back on disk, undo not sent", SqliteStore, "write", True, _writes("decided", "back")),
    Point("decision on its way to a slow disk", SqliteStore, "write", counts=_writes("decided"), slow=True),
    # Back.
    Point("undo arrived, not run", Service, "on_receive", after=True, counts=_told(Undo)),
    Point("undo ran, not committed", Running, "_undo", after=True),
    Point("undo committed, answer not sent", Serving, "_serve_in_transaction", after=True, counts=_turn_with(Undo)),
    Point("asked what became of a step", Service, "on_receive", after=True, counts=_told(Resolve)),
    Point("tombstone written, not committed", Serving, "bury", after=True),
    Point("cancelled, nothing appended", SagaActor, "_decide", after=True, counts=_deciding(CancelAsked)),
    Point("caller about to be told what became of a cancel", Caller, "tell", counts=_answers(CancelAnswer)),
    # The end.
    Point("end on disk, nobody told", SqliteStore, "write", after=True, counts=lambda _, batch: bool(batch.ends)),
    Point("caller about to be told the outcome", Caller, "tell", counts=_for_an_outcome),
    Point("caller told the outcome", Caller, "tell", after=True, counts=_for_an_outcome),
    Point("all ended, store not closed", SqliteStore, "close"),
    Point("store closed", SqliteStore, "close", after=True),
    Point("end on its way to a slow disk", SqliteStore, "write", counts=lambda _, batch: bool(batch.ends), slow=True),
    # Recovery.
    Point("open instances read, nobody told", Journal, "_answer_read", after=True, counts=_told(ListOpen)),
    Point("recovery: history about to be read", Journal, "_history", recovery=True),
    Point("recovery: history read, not resumed", SagaActor, "_on_message_before_history", counts=_told(History),
          recovery=True),
    Point("recovery: resumed, nothing appended", SagaActor, "_decide", after=True, counts=_deciding(Recovered),
          recovery=True),
    Point("recovery: resumption on disk, nothing sent", SqliteStore, "write", after=True, counts=_writes("resumed"),
          recovery=True),
)  # fmt: skip

BY_NAME = {point.name: point for point in POINTS}
