"""Mailbox and address: a queue with a name, which outlives the actor that reads it.

A letter is gone only once the turn that took it has settled: if the actor fails before, its
letters return to the front, in order, for the next incarnation. The one that killed it
counts its victims and after `POISON_LIMIT` of them becomes a dead letter. At most one turn
runs at a time, and at most one incarnation reads. How long letters wait is measured at one of
them a turn, so that it costs next to nothing.
"""

import concurrent.futures
import queue
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

from pykka import ActorDeadError

from amends.supervisor.runtime import Runtime

if TYPE_CHECKING:
    from pykka import Future

    from amends.supervisor.actor import Actor

POISON_LIMIT: Final = 3
"""Incarnations that may die of a message before it becomes a dead letter."""


class Address(Protocol):
    """Somewhere to send a message: a name that survives restarts."""

    @property
    def name(self) -> str:
        """What logs and errors call it."""
        ...

    def tell(self, message: object) -> None:
        """Leave a message and go on."""
        ...


class Inbox(Address, Protocol):
    """An address that says when it is done with a message."""

    def deliver(self, message: object, receipt: Callable[[], None]) -> None:
        """`tell`; `receipt` is called, in any thread, once a turn with the message has settled, or it is buried."""
        ...


class Caller:
    """Somebody outside who waits for an answer, as an address: what it is told sets the future."""

    name = "caller"

    def __init__(self, future: "concurrent.futures.Future[Any]") -> None:
        self._future = future

    def tell(self, message: object) -> None:
        """Answer, with a value or an error, unless the caller has gone away."""
        # Not asked beforehand: the caller may go away between the question and the answer.
        with suppress(concurrent.futures.InvalidStateError):
            if isinstance(message, BaseException):
                self._future.set_exception(message)
            else:
                self._future.set_result(message)


class EndOfTurn(Exception):  # noqa: N818 - a signal, not an error
    """Leaves Pykka's receive loop: the turn's budget is used up, or nothing is left to read."""


class Letter:
    """A message on its way, in the form Pykka's loop reads.

    Attributes:
        failures: how many incarnations it has killed.
        spent: it has killed too many, and is not handled again.
        since_s: when it was first seen to wait (monotonic); None if its wait is not measured.
        receipt: called once the letter is done with.
    """

    __slots__ = ("failures", "message", "receipt", "reply_to", "since_s", "spent")

    def __init__(self, message: Any, reply_to: "Future[Any] | None" = None) -> None:
        self.message = message
        self.reply_to = reply_to
        self.failures = 0
        self.spent = False
        self.since_s: float | None = None
        self.receipt: Callable[[], None] | None = None


class DeadLetter:
    """A message nobody could take.

    Attributes:
        address: whom it was for.
        message: the message itself; it is never logged, for it may carry what must not be read.
        reason: why it was not taken.
        traceback: of the last failure, without values; empty if it killed nobody.
    """

    __slots__ = ("address", "message", "reason", "traceback")

    def __init__(self, address: str, message: object, reason: str, traceback: str = "") -> None:
        self.address = address
        self.message = message
        self.reason = reason
        self.traceback = traceback


class Mailbox:
    """A queue, its name, and the actor that reads it now, if any.

    Attributes:
        incarnation: which reader this is, from 1; a report about an older one is out of date.
        keeper: who is told when the reader fails.
        dead: where letters go that nobody can take; None drops them.
        busy_since_s: when the message in hand was taken (monotonic), None between turns.
        waits: letters whose wait was measured: those that came when nothing waited and, where a turn leaves some over,
            the newest of them, which may have come as long as that turn before it is first seen.
        waited_s, longest_s: how long they waited before a turn took them, summed and at most.
    """

    __slots__ = (
        "__weakref__",
        "_alone",
        "_in_hand",
        "_letters",
        "_moving",
        "_scheduled",
        "_taken",
        "_turn",
        "actor",
        "busy_since_s",
        "closed",
        "dead",
        "incarnation",
        "keeper",
        "longest_s",
        "name",
        "runtime",
        "waited_s",
        "waits",
    )

    def __init__(self, name: str, runtime: Runtime, keeper: Address | None = None, dead: Address | None = None) -> None:
        self.name = name
        self.runtime = runtime
        self.keeper = keeper
        self.dead = dead
        self.actor: Actor | None = None
        self.incarnation = 0
        self.closed = False
        self.busy_since_s: float | None = None
        self.waits = 0
        self.waited_s = 0.0
        self.longest_s = 0.0
        self._letters: deque[Letter] = deque()
        self._taken: list[Letter] = []
        # The place in `_taken` of the letter the actor is busy with; None between letters.
        self._in_hand: int | None = None
        self._alone = 0
        self._turn: list[Actor] = []
        self._moving = threading.Lock()
        # Held from the moment a turn is asked for until it is over: an atomic test-and-set, waited for by nobody.
        self._scheduled = threading.Lock()

    def __len__(self) -> int:
        return len(self._letters)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"Mailbox({self.name!r})"

    @property
    def letters(self) -> tuple[Letter, ...]:
        """What waits to be read, the next one first."""
        return tuple(self._letters)

    @property
    def in_hand(self) -> object | None:
        """The message the reader is busy with."""
        place = self._in_hand
        return None if place is None else self._taken[place].message

    # Writing.

    def tell(self, message: object) -> None:
        """Leave a message and go on."""
        self._put(Letter(message))

    def deliver(self, message: object, receipt: Callable[[], None]) -> None:
        """`tell`; `receipt` is called, in any thread, once a turn with the message has settled, or it is buried."""
        letter = Letter(message)
        letter.receipt = receipt
        self._put(letter)

    def put(self, envelope: Any) -> None:
        """Pykka's way in, for `ActorRef.tell` and `ask`."""
        self._put(Letter(envelope.message, envelope.reply_to))

    def _put(self, letter: Letter) -> None:
        if not self._letters:
            letter.since_s = self.runtime.clock.now_s()
        self._letters.append(letter)
        if self.closed:
            self._drain()
        elif self.actor is not None and self._scheduled.acquire(blocking=False):
            self.runtime.ready(self)

    def notify(self) -> None:
        """See that a turn comes."""
        if self.actor is not None and self._scheduled.acquire(blocking=False):
            self.runtime.ready(self)

    # Reading, by the actor in its turn.

    def get(self) -> Letter:
        """The next letter, or EndOfTurn. Pykka's loop calls it outside its `try`, so the signal passes."""
        actor = self.actor
        if actor is None or not self._letters or len(self._taken) >= (1 if self._alone else actor.turn_budget):
            self._in_hand = None
            raise EndOfTurn
        # The watch takes a turn's letters away in one piece: with this one, or without it.
        with self._moving:
            if actor not in self._turn:
                raise EndOfTurn
            letter = self._letters.popleft()
            self._in_hand = len(self._taken)
            self._taken.append(letter)
            if self._alone:
                self._alone -= 1
        # A turn has just read the clock when it takes its first letter.
        if self._in_hand or (now_s := self.busy_since_s) is None:
            self.busy_since_s = now_s = self.runtime.clock.now_s()
        if letter.since_s is not None:
            waited_s = now_s - letter.since_s
            self.waits += 1
            self.waited_s += waited_s
            if waited_s > self.longest_s:
                self.longest_s = waited_s
        return letter

    def take_up(self, actor: "Actor", place: int | None) -> None:
        """`actor` is now busy with that letter of its turn, or with none: it is watched, and to blame, from here on.

        EndOfTurn if the turn was given up meanwhile: what it would do now is another incarnation's to do.
        """
        if self.actor is not actor:
            raise EndOfTurn
        self._in_hand = place
        self.busy_since_s = self.runtime.clock.now_s()

    def empty(self) -> bool:
        return not self._letters

    # Turns.

    def run_turn(self) -> bool:
        """One turn of the actor that reads here, asked for with `ready`.

        False if the turn was given up while it ran: another thread has taken over, so this one has to end.
        """
        actor = self.actor
        if actor is not None:
            self._turn.append(actor)
            self.busy_since_s = self.runtime.clock.now_s()
            if not actor.take_turn():
                return False
        self.end_run()
        return True

    def end_run(self) -> None:
        """The turn that `ready` asked for is over; ask for another if there is more to read, or a reader to start."""
        self._scheduled.release()
        actor = self.actor
        if self._letters:
            self._see_newest()
            self.notify()
        elif actor is not None and not actor.begun:
            self.notify()

    def _see_newest(self) -> None:
        with suppress(IndexError):  # another thread's turn, or a closing, may be faster
            newest = self._letters[-1]
            if newest.since_s is None:
                newest.since_s = self.runtime.clock.now_s()

    def close_turn(self, actor: "Actor") -> bool:
        """Whether a turn of `actor` was open until now; from here on nobody else can end it.

        A turn is ended either by its actor or by the watch that gives it up, and then the next
        incarnation may be in a turn of its own. Whoever takes the actor out of `_turn` is the
        one, and `list.remove` is atomic.
        """
        try:
            self._turn.remove(actor)
        except ValueError:
            return False
        self.busy_since_s = None
        return True

    def settled(self) -> None:
        """The letters of this turn are done with."""
        for letter in self._taken:
            if letter.receipt is not None:
                letter.receipt()
        self._taken.clear()

    def give_back(self, error: str, traceback: str, *, blame: bool, keep: Any = None, again: Any = None) -> None:
        """Return the letters of a turn that failed to the front.

        Args:
            blame: count it against the one in hand, which is buried if `again` says so of its message.
        """
        with self._moving:
            taken, self._taken = self._taken, []
            in_hand, self._in_hand = self._in_hand, None
        if blame and in_hand is not None and in_hand < len(taken):
            letter = taken[in_hand]
            if keep is None or keep(letter.message):
                # Read one at a time from here on, so that a message that fails again takes no other one with it.
                self._alone = len(taken)
            letter.failures += 1
            letter.spent = letter.failures >= POISON_LIMIT or not (again is None or again(letter.message))
        for letter in reversed(taken):
            if letter.reply_to is not None:
                self._bury(letter, "its reader ended with it in hand")
            elif keep is not None and not keep(letter.message):
                continue
            elif letter.spent:
                died = f"{letter.failures} incarnations" if letter.failures > 1 else "an incarnation"
                self._bury(letter, f"{died} died of it, the last of {error}", traceback)
            else:
                self._letters.appendleft(letter)
        if self.closed:
            self._drain()

    # Beginning and end.

    def install(self, actor: "Actor") -> None:
        """From now on `actor` reads here; its first turn comes even if there is nothing to read."""
        self.incarnation += 1
        actor.incarnation = self.incarnation
        self.actor = actor
        self.notify()

    def vacate(self, actor: "Actor") -> None:
        """`actor` reads no more; letters wait for the next one."""
        if self.actor is actor:
            self.actor = None

    def close(self) -> None:
        """For good: what is here and what still comes is buried."""
        self.closed = True
        self.actor = None
        self._drain()
        self.runtime.release(self)

    def _drain(self) -> None:
        while self._letters:
            try:
                letter = self._letters.popleft()
            except IndexError:  # somebody else drains too
                return
            self._bury(letter, "its address is closed")

    def _bury(self, letter: Letter, reason: str, traceback: str = "") -> None:
        if letter.receipt is not None:
            letter.receipt()
        if letter.reply_to is not None:
            error = ActorDeadError(f"{self.name}: {reason}")
            # Full: it has its answer, as those have that were asked in a turn that failed later.
            with suppress(queue.Full):
                letter.reply_to.set_exception((ActorDeadError, error, None))
        elif self.dead is not None:
            self.dead.tell(DeadLetter(self.name, letter.message, reason, traceback))
