"""The journal: the only memory a saga instance has.

A forced record is on disk before anything that depends on it is sent, so a crash in between
repeats a message but never invents one. All that comes in one turn is one commit, and records
that are not forced wait for the next one that is, a little while at most. When the disk does
not take it, new instances are refused, and what was accepted is kept here and tried again. When
the store's content can't be read, this incarnation ends, and the next one opens it again; so it
does when other nodes have adopted what was open here, and the next one begins with a new lease.
Turning history back into a state is `protocol.state.replay`, not ours.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Final

from amends.actors.journal.messages import (
    Append,
    AppendRefused,
    Count,
    Find,
    History,
    Known,
    Leave,
    ListOpen,
    NotOpened,
    Open,
    Opened,
    OpenPage,
    Quarantine,
    ReadBack,
    Relay,
    RelayAnswered,
    Watch,
)
from amends.actors.journal.pending import Pending
from amends.actors.journal.sharing import Sharing
from amends.actors.journal.store import (
    Batch,
    Blocked,
    InDoubt,
    Instance,
    Key,
    PlanId,
    Store,
    Stored,
    checksum,
    verify,
)
from amends.protocol import codec
from amends.protocol.errors import JournalUnavailable, RecordCorrupt
from amends.protocol.messages import SagaId
from amends.protocol.records import Ended, Record
from amends.supervisor import telemetry
from amends.supervisor.actor import Actor
from amends.supervisor.mailbox import Address

LAZY_S = 0.05
"""How long a record that is not forced may wait for one that is, in seconds."""

RETRY_S = 0.5
"""How often a blocked store is tried again, in seconds."""

_Read = ReadBack | ListOpen | Count | Leave
_PRUNE_EVERY_S = 60.0
_PRUNE_LIMIT = 1000
_CLOSED: Final = ("completed", "compensated")


class Journal(Actor):
    """Writes what instances append, reads it back.

    Args:
        open_store: opens the store; called in the actor's own thread and again by every incarnation.
        plans: those that this process can run, and so may adopt instances of.
        retention_s: how long an ended instance is remembered, in seconds.
    """

    turn_budget = 500

    def __init__(self, open_store: Callable[[], Store], plans: Collection[PlanId], retention_s: float) -> None:
        super().__init__()
        self._open_store = open_store
        self._plans = plans
        self._retention_s = retention_s

    def on_start(self) -> None:
        self._store = self._open_store()
        # Of each open instance: how many records it has, and the checksum of the last.
        self._ends: dict[SagaId, tuple[int, int]] = {}
        self._pending = Pending()
        self._opens: list[Open] = []
        self._known: list[tuple[Open, str]] = []
        self._reads: list[_Read] = []
        self._sharing = Sharing(self, self._store, self._plans)
        self._finds: list[Find] = []
        self._blocked = ""
        self._retry_due_s = 0.0
        self._prune_due_s = self.clock.now_s() + _PRUNE_EVERY_S

    def let_go(self, *, hung: bool) -> None:
        if "_store" in self.__dict__:
            self._store.close()

    def came_back(self) -> None:
        self.let_go(hung=False)

    def on_stop(self) -> None:
        self._store.close()

    @property
    def blocked(self) -> str:
        # Before its first turn there is neither.
        sharing: Sharing | None = self.__dict__.get("_sharing")
        reason: str = self.__dict__.get("_blocked", "")
        return reason or ("" if sharing is None else sharing.away)

    @property
    def unwritten(self) -> bool:
        """Whether records wait to be written."""
        return bool(self._pending)

    def on_receive(self, message: object) -> None:
        match message:
            case Append():
                self._on_append(message)
            case Open():
                self._opens.append(message)
            case Quarantine(saga_id=saga_id):
                self._pending.ends.append(("quarantined", self.clock.now_at(), saga_id))
                self._pending.forced = True
            case ReadBack() | ListOpen() | Count() | Leave():
                self._reads.append(message)
            case Watch(saga_id=saga_id, reply_to=reply_to):
                self._sharing.watch(saga_id, reply_to)
            case Relay():
                self._sharing.ask(message)
            case RelayAnswered():
                self._sharing.answered(message)
            case Find():
                self._finds.append(message)

    def settle(self) -> None:
        now_s = self.clock.now_s()
        if self._opens:
            self._take_opens()
        if self._write_now(now_s):
            self._write()
        for opening, saga_id in self._known:
            self._answer_known(opening, SagaId(saga_id))
        self._known.clear()
        if self._reads:
            self._answer_reads()
        shared_due_s = self._sharing.settle(now_s)
        for find in self._finds:
            if not find.future.done():
                self.answer(find.future, self._found(find))
        self._finds.clear()
        if now_s >= self._prune_due_s:
            self._prune_due_s = now_s + self._prune()
        self.wakes_at_s = min(self._next_turn_s(now_s), shared_due_s)

    def _write_now(self, now_s: float) -> bool:
        if self._blocked:
            return now_s >= self._retry_due_s
        pending = self._pending
        return pending.forced or (
            bool(pending) and (bool(self._reads or self._known) or now_s >= pending.since_s + LAZY_S)
        )

    def _next_turn_s(self, now_s: float) -> float:
        if self._blocked:
            return self._retry_due_s
        if self._opens:
            return now_s
        return self._pending.since_s + LAZY_S if self._pending else self._prune_due_s

    def _prune(self) -> float:
        """Forget old instances, a batch a turn; how long the next batch may wait, in seconds."""
        forgotten = 0
        # What can't be forgotten now is forgotten the next time.
        with suppress(Blocked):
            forgotten = self._store.prune(self.clock.now_at() - self._retention_s, _PRUNE_LIMIT)
        return 0.0 if forgotten == _PRUNE_LIMIT else _PRUNE_EVERY_S

    # Appends.

    def _on_append(self, append: Append) -> None:
        if append.token not in self._sharing.tokens:
            # From before this incarnation: others may have adopted the instance since, and who has sent this ends with
            # the coordinator, which starts anew after every journal.
            return
        length, _ = self._end_of(append.saga_id)
        if append.first != length:
            self.tell(append.sender, AppendRefused(append.first, length))
            return
        if not self._pending:
            self._pending.since_s = self.clock.now_s()
        self._add(append.saga_id, append.records, append.ats)
        self._pending.then.extend(append.then)
        # Nobody waits for a record that is not forced, but somebody does for what comes after one.
        self._pending.forced |= append.forced or bool(append.then)

    def _add(self, saga_id: SagaId, records: tuple[Record, ...], ats: tuple[float, ...]) -> None:
        length, before = self._end_of(saga_id)
        for record, at in zip(records, ats, strict=True):
            body = codec.encode(record)
            before = checksum(before, saga_id, length, at, codec.SCHEMA, body)
            kind = codec.TYPES[type(record)]
            self._pending.records.append(Stored(saga_id, length, at, codec.SCHEMA, kind, body.decode(), before))
            length += 1
        self._ends[saga_id] = (length, before)
        last = records[-1] if records else None
        if isinstance(last, Ended):
            self._pending.ends.append(("completed" if last.completed else "compensated", ats[-1], saga_id))

    def _end_of(self, saga_id: SagaId) -> tuple[int, int]:
        end = self._ends.get(saga_id)
        if end is None:
            history = self._store.history(saga_id)
            end = (history[-1].seq + 1, history[-1].checksum) if history else (0, 0)
            self._ends[saga_id] = end
        return end

    # Openings.

    def _take_opens(self) -> None:
        """Add the instances whose keys are new to the batch; the others are answered after it."""
        opens, self._opens = self._opens, []
        known = self._look_up(opens)
        keys: set[Key] = set()
        for opening in opens:
            started = opening.started
            key = (started.saga, started.key)
            if key in keys:
                self._opens.append(opening)  # the next turn finds the first one on disk
                continue
            if self._blocked:
                self.tell(opening.reply_to, NotOpened(started.saga_id, self._blocked))
                continue
            if key in known:
                self._known.append((opening, known[key]))
                continue
            if opening.closed:
                self.tell(opening.reply_to, NotOpened(started.saga_id, opening.closed, closed=True))
                continue
            self._pending.instances.append(
                Instance(started.saga_id, started.saga, started.version, started.key, "open", started.at)
            )
            self._pending.forced = True
            keys.add(key)
            self._ends[started.saga_id] = (0, 0)
            self._add(started.saga_id, opening.records, (started.at,) * len(opening.records))
            self._pending.opened.append(opening)

    def _look_up(self, opens: Sequence[Open]) -> dict[Key, str]:
        """The ids of those among the keys that are not new, asked for at once: the store may be far."""
        if self._blocked or not opens:
            return {}
        try:
            return self._store.known({(opening.started.saga, opening.started.key) for opening in opens})
        except Blocked as error:
            self._wait(str(error))
            return {}

    def _answer_known(self, opening: Open, saga_id: SagaId) -> None:
        """An earlier caller started it; whoever asks now gets to know what became of it."""
        try:
            instance, records, problem = self._history(saga_id)
        except Blocked as error:
            self._wait(str(error))
            self.tell(opening.reply_to, NotOpened(opening.started.saga_id, self._blocked))
            return
        if instance is None or problem:
            self.tell(opening.reply_to, NotOpened(opening.started.saga_id, problem, corrupt=True))
            self._put_aside(instance, problem)
        else:
            self.tell(opening.reply_to, Known(opening.started.saga_id, instance, records))

    def _put_aside(self, instance: Instance | None, problem: str) -> None:
        """Quarantine an instance that is damaged and has ended: nobody runs it who would say so."""
        if instance is not None and instance.state in _CLOSED:
            telemetry.log.error(telemetry.SAGA_QUARANTINED, saga_id=instance.saga_id, reason=problem)
            self.on_receive(Quarantine(SagaId(instance.saga_id)))

    # The commit.

    def _write(self) -> None:
        pending = self._pending
        try:
            left_out = self._store.write(Batch(pending.instances, pending.records, pending.ends))
        except Blocked as error:
            pending.in_doubt |= isinstance(error, InDoubt) and bool(pending)
            self._on_blocked(str(error))
            return
        if self._blocked:
            self._blocked = ""
            telemetry.log.warning(telemetry.JOURNAL_UNBLOCKED, path=self._store.path)
        for opening in pending.opened:
            if opening.started.saga_id in left_out:
                self._ends.pop(opening.started.saga_id, None)
                self._opens.append(opening)  # the next turn finds whose the key is
            else:
                self.tell(opening.reply_to, Opened(opening.started.saga_id, self._store.token))
        for address, message in pending.then:
            self.tell(address, message)
        # Not before: until then the disk does not know of the end, and somebody may still ask to be told of it.
        for _, _, saga_id in pending.ends:
            self._ends.pop(SagaId(saga_id), None)
        self._pending = Pending()

    def _on_blocked(self, reason: str) -> None:
        """Keep what was accepted, and refuse what is new, unless that may have been written."""
        pending = self._pending
        if not pending.in_doubt:
            self._refuse_opened(reason)
        pending.forced = bool(pending.records or pending.ends)
        if pending.forced or self._blocked:
            self._wait(reason)
        else:
            self._say_blocked(reason)

    def _refuse_opened(self, reason: str) -> None:
        pending = self._pending
        refused = {opening.started.saga_id for opening in pending.opened}
        for opening in pending.opened:
            self._ends.pop(opening.started.saga_id, None)
            self.tell(opening.reply_to, NotOpened(opening.started.saga_id, reason))
        pending.opened = []
        pending.instances = []
        pending.records = [r for r in pending.records if r.saga_id not in refused]
        pending.ends = [end for end in pending.ends if end[2] not in refused]

    def _wait(self, reason: str) -> None:
        """Try again after a while; until then new instances are refused."""
        self._say_blocked(reason)
        self._blocked = reason
        self._retry_due_s = self.clock.now_s() + RETRY_S

    def _say_blocked(self, reason: str) -> None:
        if not self._blocked:
            telemetry.log.error(telemetry.JOURNAL_BLOCKED, path=self._store.path, reason=reason)

    # Reading.

    def _answer_reads(self) -> None:
        """Answer what can be. An instance with records that are not on disk is told nothing until they are.

        Whoever reads a decision back takes it for durable and acts on it.
        """
        unwritten = {record.saga_id for record in self._pending.records}
        reads, self._reads = self._reads, []
        for number, read in enumerate(reads):
            if isinstance(read, ReadBack) and read.saga_id in unwritten:
                self._reads.append(read)
                continue
            try:
                self._answer_read(read)
            except Blocked as error:
                self._wait(str(error))
                self._reads += reads[number:]
                return

    def _answer_read(self, read: _Read) -> None:
        match read:
            case ReadBack(saga_id=saga_id, reply_to=reply_to):
                instance, records, problem = self._history(saga_id, ours=True)
                self.tell(reply_to, History(saga_id, instance, records, problem))
            case ListOpen(after=after, limit=limit, reply_to=reply_to, asker=asker):
                grants = self._store.open_grants(after, limit)
                self._sharing.tokens.update(grant.token for grant in grants)
                self._sharing.keeper = reply_to
                counts = None if after else self._store.counts()
                self.tell(reply_to, OpenPage(asker, grants, counts, last=len(grants) < limit))
            case Count(future=future):
                self.answer(future, self._store.counts())
            case Leave(future=future):
                self._sharing.leave()
                self.answer(future, None)

    def _found(self, find: Find) -> History | JournalUnavailable | None:
        """What is on disk, however much waits to be written: nobody has been told anything of that yet."""
        try:
            known = self._store.find(find.saga, find.key)
            if known is None:
                return None
            history = History(SagaId(known.saga_id), *self._history(SagaId(known.saga_id)))
        except Blocked as error:
            if not self._blocked:
                self._wait(str(error))
            return JournalUnavailable(f"saga {find.saga!r}: key {find.key!r} can't be looked up: {error}")
        if history.problem:
            self._put_aside(history.instance, history.problem)
        return history

    def tell_history(self, saga_id: SagaId, readers: Sequence[Address]) -> None:
        """Tell an instance's history as it is on disk, or Blocked."""
        history = History(saga_id, *self._history(saga_id))
        for reader in readers:
            self.tell(reader, history)

    def _history(self, saga_id: SagaId, *, ours: bool = False) -> tuple[Instance | None, tuple[Record, ...], str]:
        """An instance and its records as they are on disk; or why they can't be trusted."""
        instance = self._store.instance(saga_id)
        try:
            stored = self._store.history(saga_id)
            verify(saga_id, stored)
            records = tuple(codec.decode_record(saga_id, s.seq, s.schema, s.body.encode()) for s in stored)
            _agree(saga_id, instance, records)
            if ours and instance is not None and instance.state == "open":
                # Whoever reads it back is about to append to it.
                self._ends.setdefault(saga_id, (len(stored), stored[-1].checksum))
            return instance, records, ""
        except RecordCorrupt as error:
            return instance, (), str(error)


def _agree(saga_id: SagaId, instance: Instance | None, records: tuple[Record, ...]) -> None:
    """RecordCorrupt unless the store lists the instance as its history has it; checksums can't tell a lost end."""
    if instance is None:
        raise RecordCorrupt(saga_id, 0, "its instance is not listed")
    last = len(records) - 1
    if instance.state != "quarantined" and isinstance(records[last], Ended) != (instance.state in _CLOSED):
        kind = codec.TYPES[type(records[last])]
        raise RecordCorrupt(saga_id, last, f"is the last one, {kind}, and its instance is {instance.state}")
