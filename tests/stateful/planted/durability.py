"""Wrong variants of who waits for the disk: saga actor, journal and its store."""

from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any
from unittest.mock import patch

from amends.actors import saga
from amends.actors.callers import Submit
from amends.actors.coordinator import _HANDLERS, Coordinator
from amends.actors.journal.journal import Journal
from amends.actors.journal.memory import MemoryStore
from amends.actors.journal.messages import Append, History, Opened, ReadBack
from amends.actors.journal.pending import Pending
from amends.actors.saga import InstanceEnded, SagaActor
from amends.protocol.codec import decode_record
from amends.protocol.records import Ended, Intervened, Started
from amends.protocol.state import outcome
from amends.supervisor.mailbox import Address
from tests.stateful.planted.bug import bug


@bug(budget=50)
def decision_not_forced() -> Iterator[None]:
    """The first undo, or the first retriable command, leaves before the decision is on disk."""
    with patch.object(saga, "FORCED", frozenset({Started, Intervened, Ended})):
        yield


@bug(budget=50)
def start_not_forced() -> Iterator[None]:
    """An instance is accepted, and sends its first command, before it is on disk."""
    right = Coordinator._on_submit

    def on_submit(coordinator: Coordinator, submit: Submit) -> None:
        right(coordinator, submit)
        coordinator._on_opened(Opened(submit.saga_id, 1))

    with patch.dict(_HANDLERS, {Submit: on_submit}):
        yield


@bug(budget=50)
def outcome_told_too_early() -> Iterator[None]:
    """The outcome is told before the end is on disk."""
    right = SagaActor._append

    def append(actor: SagaActor, *arguments: Any, **keywords: Any) -> None:
        state = actor._state
        if state is not None and state.ended is not None:
            actor.tell(actor._around.coordinator, InstanceEnded(actor._saga_id, outcome(actor._plan, state)))
        right(actor, *arguments, **keywords)

    with patch.object(SagaActor, "_append", append):
        yield


@bug()
def cancel_told_too_early() -> Iterator[None]:
    """A cancel is told 'accepted' before the decision is on disk."""

    def answer_after(actor: SagaActor, future: "Future[Any]", answer: str | None) -> None:
        actor.answer(future, answer)

    with patch.object(SagaActor, "_answer_after", answer_after):
        yield


@bug()
def full_disk_not_noticed() -> Iterator[None]:
    """A disk without room is taken for one that has written."""

    def on_blocked(journal: Journal, reason: str) -> None:
        pending, journal._pending = journal._pending, Pending()
        for opening in pending.opened:
            journal.tell(opening.reply_to, Opened(opening.started.saga_id, journal._store.token))
        for address, message in pending.then:
            journal.tell(address, message)

    with patch.object(Journal, "_on_blocked", on_blocked):
        yield


@bug(budget=50)
def duplicate_start_runs_twice() -> Iterator[None]:
    """A key is not looked up, so whoever starts it again starts another instance."""
    with patch.object(MemoryStore, "known", lambda store, keys: {}):
        yield


@bug(scenario="no room")
def history_without_a_barrier() -> Iterator[None]:
    """A restarted saga reads its history past what its predecessor has queued in the journal."""
    right = Journal.on_receive

    def on_receive(journal: Journal, message: object) -> None:
        if isinstance(message, ReadBack):
            journal._answer_read(message)
        else:
            right(journal, message)

    with patch.object(Journal, "on_receive", on_receive):
        yield


@bug(scenario="no room")
def history_read_before_it_is_on_disk() -> Iterator[None]:
    """A restarted saga reads what its predecessor has queued before it is on disk, and takes it for durable."""
    right = Journal.tell

    def tell(journal: Journal, address: Address, message: object) -> None:
        if isinstance(message, History) and not message.problem:
            queued = [s for s in journal._pending.records if s.saga_id == message.saga_id]
            new = [s for s in queued if s.seq >= len(message.records)]
            message.records += tuple(decode_record(message.saga_id, s.seq, s.schema, s.body.encode()) for s in new)
        right(journal, address, message)

    def answer_reads(journal: Journal) -> None:
        reads, journal._reads = journal._reads, []
        for read in reads:
            journal._answer_read(read)

    with patch.object(Journal, "tell", tell), patch.object(Journal, "_answer_reads", answer_reads):
        yield


@bug(scenario="no room")
def stale_append_merged() -> Iterator[None]:
    """An append that does not continue its history is merged instead of refused; and there is no barrier."""
    right = Journal._on_append

    def on_append(journal: Journal, append: Append) -> None:
        append.first, _ = journal._end_of(append.saga_id)
        right(journal, append)

    # Alone it can't show: with the barrier no append is ever stale.
    with history_without_a_barrier.plant(), patch.object(Journal, "_on_append", on_append):
        yield
