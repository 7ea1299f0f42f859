"""One process's life in a simulated world: who takes the next turn in it, and who waits for it.

When it ends, it ends for everybody: whatever its actors still do in the turn they are in, a
message, an answer or a commit, reaches nobody any more. A handler that hangs lets the world go
on around it, as its thread would.
"""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

from amends.protocol.errors import SystemStopped
from amends.supervisor.actor import Actor, Kill
from amends.supervisor.mailbox import Mailbox
from amends.supervisor.runtime import Clock
from amends.testing.agenda import Stalled
from amends.testing.facts import Died, Fell, Spawned
from amends.testing.letters import Letters
from amends.testing.schedule import LATE, lateness_s
from amends.testing.world import World

_TURN: Final = (*LATE, "kill")
_OUTSIDE: Final = (*LATE, "crash before", "crash after", "hang")
_LEFT_ALONE: Final = ("root", "services", "dead-letters")
"""Actors whose turns meet no fate: the world's own hands."""

_WAKES_AFTER_S: Final = 1.0
"""How long after its turn was given up a handler that hung comes back."""


class ProcessDied(BaseException):
    """Takes the stack of a handler that hangs in a process that is gone out of the world."""


RunUntil = Callable[[Callable[[], bool], float | None], None]
"""Lets the world go on until something is so, or that many virtual seconds have passed."""


class Life:
    """One process.

    Args:
        run_until: for callers that wait.
        turn_over: told the name of each actor whose turn has ended.

    Attributes:
        ended: whether it is gone.
    """

    def __init__(self, world: World, run_until: RunUntil, turn_over: Callable[[str], None]) -> None:
        self.world = world
        self.ended = False
        self.run_until = run_until
        self.turn_over = turn_over
        self.runtime = SimulatedRuntime(world, self)

    def end(self) -> None:
        """The process dies, here and now."""
        if not self.ended:
            self.ended = True
            self.world.see(Died(self.world.now_s))

    def new_future(self) -> "SimulatedFuture":
        """For a caller of this process."""
        return SimulatedFuture(self)

    def hang(self, actor: Actor) -> None:
        """The world goes on around the turn of `actor` until a while after somebody has given it up."""
        agenda, mailbox = self.world.agenda, actor.address
        back_s = float("inf")
        while agenda.now_s < back_s:
            agenda.step()
            if self.ended:
                raise ProcessDied
            if back_s == float("inf") and mailbox.actor is not actor:
                back_s = agenda.now_s + _WAKES_AFTER_S


class SimulatedRuntime:
    """Gives the turns of one life, one at a time, when their moment has come."""

    def __init__(self, world: World, life: Life) -> None:
        self.clock: Clock = world.clock
        self._world = world
        self._life = life
        self._turns: list[Mailbox] = []
        self._letters = Letters()

    # The port.

    def ready(self, mailbox: Mailbox) -> None:
        if self._life.ended:
            return
        fate = ""
        if mailbox.name not in _LEFT_ALONE:
            fate = self._world.meet(f"turn of {self._world.who(mailbox.name)}", _TURN)
        if fate == "kill":
            mailbox.tell(Kill())
        self._world.agenda.put(lateness_s(fate), lambda: self._turn(mailbox))

    def replace(self, mailbox: Mailbox) -> None:
        """There is one thread, and it is already elsewhere."""

    def in_turn(self) -> list[Mailbox]:
        return list(self._turns)

    def release(self, mailbox: Mailbox) -> None:
        self._world.agenda.set_alarm(mailbox, None, mailbox.notify)
        self._letters.forget(mailbox)

    def outside(self, call: Callable[[], None]) -> None:
        if self._life.ended:
            return
        fate = self._world.meet("call outside", _OUTSIDE)
        if fate == "hang":
            return  # it gets nowhere, and never comes back

        def run() -> None:
            if fate == "crash before":
                self._life.end()
            if self._life.ended:
                return
            call()
            if fate == "crash after":
                self._life.end()

        self._world.agenda.put(lateness_s(fate), run)

    def stop(self, timeout_s: float) -> bool:
        self._life.ended = True
        return True

    # The world's side.

    @property
    def current(self) -> str:
        """The name of the actor in whose turn this is."""
        return self._turns[-1].name if self._turns else ""

    def _turn(self, mailbox: Mailbox) -> None:
        actor = mailbox.actor
        if self._life.ended:
            return
        world = self._world
        if actor is not None and not actor.begun:
            world.see(Spawned(world.now_s, world.who(mailbox.name), mailbox.incarnation))
        before = mailbox.letters
        world.guard(lambda: self._letters.before(mailbox))
        self._turns.append(mailbox)
        try:
            if not mailbox.run_turn():
                return
        finally:
            self._turns.remove(mailbox)
        failed = actor is not None and actor.failure is not None
        world.guard(lambda: self._letters.after(mailbox, before, failed=failed))
        self._after(mailbox, actor)

    def _after(self, mailbox: Mailbox, actor: Actor | None) -> None:
        world = self._world
        if actor is not None and actor.failure is not None and not self._life.ended:
            error, frames = actor.failure
            world.see(Fell(world.now_s, world.who(mailbox.name), actor.incarnation, error, frames))
        self._life.turn_over(mailbox.name)
        reader = mailbox.actor
        world.agenda.set_alarm(mailbox, None if reader is None else reader.wakes_at_s, mailbox.notify)


class SimulatedFuture(Future[Any]):
    """A future whose `result` lets the world go on until it is there."""

    def __init__(self, life: Life) -> None:
        super().__init__()
        self._life = life

    def result(self, timeout: float | None = None) -> Any:
        try:
            self._life.run_until(self.done, timeout)
        except Stalled:
            if timeout is None:
                raise
        return super().result(0)

    def set_result(self, result: Any) -> None:
        if not self._life.ended:
            super().set_result(result)

    def set_exception(self, exception: BaseException | None) -> None:
        # What a dead process says reaches nobody, but that it is dead does.
        if not self._life.ended or isinstance(exception, SystemStopped):
            super().set_exception(exception)
