"""Actor: a Pykka actor whose turns a runtime decides.

A turn takes up to `turn_budget` messages, handles each, and calls `settle` once. Nothing
leaves the actor before `settle` has returned: what it told others during the turn waits in
its outbox, so a turn that fails has happened to nobody. Pykka's own receive loop, failure
handling and teardown run unchanged; its three extension points are used here and nowhere
else. Who runs next is the runtime's business, what follows a failure the keeper's.
"""

import sys
import threading
import traceback as tracebacks
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, ClassVar, TypeVar

import pykka
from pykka import messages as pykka_messages

from amends.protocol.errors import AmendsError
from amends.supervisor import telemetry
from amends.supervisor.mailbox import Address, Caller, EndOfTurn, Mailbox
from amends.supervisor.runtime import Clock

T = TypeVar("T")


class ActorCrash(AmendsError):  # noqa: N818 - reads as the fact it reports
    """Something that is no Exception (SystemExit, say) left a handler; left alone it would stop every actor."""


class Kill:
    """A message that makes whoever reads it fail, for drills; it is not delivered again."""


class Failed:
    """Told to the keeper of an actor that failed.

    Attributes:
        name: the actor's address.
        incarnation: which of its readers failed.
        error: the error's class; its text may quote a message, so it is not kept.
        traceback: file, line and function of each frame.
    """

    __slots__ = ("error", "incarnation", "name", "traceback")

    def __init__(self, name: str, incarnation: int, error: str, traceback: str) -> None:
        self.name = name
        self.incarnation = incarnation
        self.error = error
        self.traceback = traceback


class Exited:
    """Told to the keeper of an actor that stopped because it was asked to."""

    __slots__ = ("incarnation", "name")

    def __init__(self, name: str, incarnation: int) -> None:
        self.name = name
        self.incarnation = incarnation


class _Flag:
    """What Pykka needs of `threading.Event` here, at a fiftieth of its size."""

    __slots__ = ("_is_set",)

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        self._is_set = True

    def is_set(self) -> bool:
        return self._is_set


class Actor(pykka.Actor):
    """The base of every actor here.

    Attributes:
        turn_budget: messages a turn may take.
        registered: whether Pykka's registry lists it; that is a list, so nothing numerous belongs there.
        address: where it reads, under every incarnation.
        clock: its runtime's.
        incarnation: which reader of its mailbox it is, from 1.
        begun: whether it has had a turn.
        wakes_at_s: a turn is wanted at this monotonic time even without a message; None is never.
        failure: the error's class and its frames, once a turn has failed.
    """

    turn_budget: ClassVar[int] = 100
    registered: ClassVar[bool] = True
    wakes_at_s: float | None = None
    incarnation = 0

    actor_inbox: Mailbox  # type: ignore[assignment]  # its letters have all that Pykka reads of an envelope

    def __init__(self) -> None:
        # Not Pykka's own: it makes a uuid4 and an Event, the two largest costs of an actor.
        mailbox: Mailbox | None = getattr(_birth, "mailbox", None)
        if mailbox is None:
            raise AmendsError(f"{type(self).__name__}: an amends actor is born into a mailbox, by its supervisor")
        _birth.mailbox = None
        # Attributes, as every turn asks for them many times.
        self.actor_inbox = self.address = mailbox
        self.clock: Clock = mailbox.runtime.clock
        self.actor_stopped = _Flag()  # type: ignore[assignment]  # the two methods Pykka calls are there
        self.actor_urn = f"urn:amends:{mailbox.name}"
        self._outbox: list[tuple[Address, object]] = []
        self.begun = False
        self._is_settled = False
        self.failure: tuple[str, str] | None = None

    @property
    def actor_ref(self) -> "pykka.ActorRef[Any]":
        """Pykka's reference to this incarnation; an address outlives it."""
        ref = self.__dict__.get("_actor_ref")
        if ref is None:
            ref = self._actor_ref = pykka.ActorRef(self)
        return ref

    # What a subclass may define.

    @property
    def blocked(self) -> str:
        """Why it can't do its work for now, a full disk say; empty if it can. Read by anyone, in any thread."""
        return ""

    def settle(self) -> None:
        """Make the turn's work final; what was told leaves when this returns."""

    def resumes(self, message: object) -> bool:
        """Whether a message that was in hand in a turn that did not end is handled again.

        False where its sender asks again by itself: at the head of the mailbox it would hold up all others each time.
        """
        return True

    def let_go(self, *, hung: bool) -> None:
        """Give back what would outlive a failed incarnation, as an open file.

        Args:
            hung: the actor's own thread is still in its turn, and this is another one.
        """

    def came_back(self) -> None:
        """The thread of a turn that was taken away is back in it: free what nobody else could take from it."""

    # What a subclass may call in its turn.

    def tell(self, address: Address, message: object) -> None:
        """Send `message` when this turn has settled."""
        self._outbox.append((address, message))

    def answer(self, future: "Future[T]", value: T | BaseException) -> None:
        """Set a caller's future, to a value or an error, when this turn has settled."""
        self._outbox.append((Caller(future), value))

    # Turns.

    def take_turn(self) -> bool:
        """One turn; called by the mailbox, in whichever thread the runtime chose. False if it was given up."""
        mailbox = self.actor_inbox
        if self.actor_stopped.is_set():  # retired between being asked for a turn and taking it
            return mailbox.close_turn(self)
        self._is_settled = False
        try:
            if not self.begun:
                self.begun = True
                self._actor_loop_setup()
                mailbox.busy_since_s = self.clock.now_s()
            self._actor_loop_running()
        except EndOfTurn:
            if not self.actor_stopped.is_set():  # by whoever took the turn away this very moment
                self._settle()
        except BaseException:  # noqa: BLE001 - Pykka lets it out of some hooks, and it would end the runtime's thread
            self._handle_failure(*sys.exc_info())
        if not mailbox.close_turn(self):
            self._clean_up(self.came_back)
            return False  # another incarnation has the letters
        if self.failure is not None:
            self._fail(*self.failure)
            return True
        if not self._is_settled:  # retired between being given the turn and beginning it
            self._outbox.clear()
            mailbox.give_back("", "", blame=False, keep=_not_kill)
            return True
        mailbox.settled()
        self._send()
        if self.actor_stopped.is_set():
            mailbox.vacate(self)
            self._tell_keeper(Exited(mailbox.name, self.incarnation))
        return True

    def give_up(self) -> bool:
        """The watch's side of a turn that does not end: take its letters away. False if it just ended."""
        mailbox = self.actor_inbox
        if not mailbox.close_turn(self):
            return False
        self.actor_stopped.set()
        self._unregister()
        self._fail("a turn that did not end", "", hung=True)
        mailbox.runtime.replace(mailbox)
        mailbox.end_run()
        return True

    def retire(self) -> None:
        """End this incarnation now, in a turn or not; letters wait for the next one."""
        mailbox = self.actor_inbox
        # Closed first: an actor that finds itself stopped while its turn is still its own would send without settling.
        in_turn = mailbox.close_turn(self)
        self.actor_stopped.set()
        self._unregister()
        mailbox.vacate(self)
        self._let_go(hung=in_turn)
        if in_turn:
            mailbox.give_back("", "", blame=False, keep=_not_kill)
            mailbox.runtime.replace(mailbox)
            mailbox.end_run()

    def _unregister(self) -> None:
        if self.registered:
            pykka.ActorRegistry.unregister(self.actor_ref)

    def _settle(self) -> None:
        try:
            self.settle()
            self._is_settled = True
        except BaseException:  # noqa: BLE001 - whatever it is, the turn has failed, and only this actor with it
            self._handle_failure(*sys.exc_info())

    def _send(self) -> None:
        outbox, self._outbox = self._outbox, []
        for address, message in outbox:
            address.tell(message)

    def _fail(self, error: str, traceback: str, *, hung: bool = False) -> None:
        mailbox = self.actor_inbox
        self._outbox.clear()
        self._let_go(hung=hung)
        mailbox.vacate(self)
        mailbox.give_back(error, traceback, blame=True, keep=_not_kill, again=self.resumes if hung else None)
        self._tell_keeper(Failed(mailbox.name, self.incarnation, error, traceback))

    def _let_go(self, *, hung: bool) -> None:
        self._clean_up(lambda: self.let_go(hung=hung))

    def _clean_up(self, free: Callable[[], None]) -> None:
        try:
            free()
        except BaseException as error:  # noqa: BLE001 - what can't be given back must not keep the next from starting
            telemetry.log.error(
                telemetry.ACTOR_FAILED,
                actor=self.actor_inbox.name,
                incarnation=self.incarnation,
                error=type(error).__name__,
                traceback=frames(error.__traceback__),
            )

    def _tell_keeper(self, report: Failed | Exited) -> None:
        if self.actor_inbox.keeper is not None:
            self.actor_inbox.keeper.tell(report)

    # Pykka's extension points and hooks.

    @staticmethod
    def _create_actor_inbox() -> Any:
        raise AmendsError("an amends actor is born into a mailbox, which it does not make")

    @staticmethod
    def _create_future() -> "pykka.Future[Any]":
        return pykka.ThreadingFuture()

    def _start_actor_loop(self) -> None:
        self.actor_inbox.install(self)

    def _handle_receive(self, message: Any) -> Any:
        try:
            if type(message) in _PYKKAS_OWN:
                return super()._handle_receive(message)
            if type(message) is Kill:
                raise ActorCrash("killed by a drill")
            return self.on_receive(message)
        except Exception:
            raise
        except BaseException as error:
            raise ActorCrash(f"{type(error).__name__} left a handler").with_traceback(error.__traceback__) from error

    def _handle_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Pykka's own would log the error with its text, which may quote a message."""
        name = exception_type.__name__ if exception_type is not None else "an unknown error"
        self.failure = (name, frames(traceback))
        self._unregister()
        self.actor_stopped.set()

    def _stop(self) -> None:
        self._settle()
        if self.actor_stopped.is_set():  # the settling failed, or took so long that the turn was given up
            return
        self.actor_inbox.settled()
        self._send()
        try:
            super()._stop()
        except BaseException:  # noqa: BLE001 - Pykka takes an Exception of on_stop for a failure, and so is any other
            self._handle_failure(*sys.exc_info())


_PYKKAS_OWN = (
    pykka_messages._ActorStop,
    pykka_messages.ProxyCall,
    pykka_messages.ProxyGetAttr,
    pykka_messages.ProxySetAttr,
)

# Pykka makes an actor's inbox without arguments, so the mailbox an actor is born into can't be one.
_birth = threading.local()


def spawn(mailbox: Mailbox, factory: Callable[[], Actor]) -> Actor:
    """Make an actor that reads `mailbox` and give it its first turn."""
    _birth.mailbox = mailbox
    try:
        actor = factory()
    finally:
        _birth.mailbox = None  # a factory that failed early would leave it to another actor
    if actor.registered:
        pykka.ActorRegistry.register(actor.actor_ref)
    actor._start_actor_loop()
    return actor


def frames(traceback: TracebackType | None) -> str:
    """File, line and function of each frame. Source lines and values stay out: they may quote what is secret."""
    return "\n".join(f"{f.filename}:{f.lineno} in {f.name}" for f in tracebacks.extract_tb(traceback))


def _not_kill(message: object) -> bool:
    return not isinstance(message, (Kill, pykka_messages._ActorStop))
