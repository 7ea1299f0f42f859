"""The open instances of one process: each has an actor, which is restarted when it fails.

Each has a restart intensity of its own: one that keeps failing is reported as stuck and tried
again slowly, and the others run. Which instances there are to be, and who is told how they end,
is the coordinator's business; all of this happens in its turns.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from amends.actors.callers import Over
from amends.actors.journal.store import Grant
from amends.actors.saga import SagaActor, Surroundings
from amends.actors.timers import After
from amends.protocol.events import Decision
from amends.protocol.messages import SagaId
from amends.protocol.saga import Plan
from amends.supervisor import telemetry
from amends.supervisor.actor import Failed, spawn
from amends.supervisor.intensity import RestartWindow
from amends.supervisor.mailbox import Address, Mailbox
from amends.supervisor.runtime import Runtime

if TYPE_CHECKING:
    from amends.actors.coordinator import Coordinator

INTENSITY: Final = 5
PERIOD_S: Final = 30.0
BACKOFF_S: Final = 0.05
BACKOFF_S_MAX: Final = 2.0
SLOW_S: Final = 60.0
"""How often an instance that keeps failing is tried again, in seconds."""

Opening = tuple[Plan, Decision]
"""An instance's plan and its first decision, whose records are on disk."""


@dataclass(frozen=True, slots=True)
class Respawn:
    """It is time to restart an instance whose incarnation of that number has failed."""

    saga_id: SagaId
    incarnation: int


class Instances:
    """What a coordinator keeps.

    Args:
        mailboxes: the open instances' addresses, shared with the transport, which only reads it.

    Attributes:
        stuck: why, by step, by instance.
    """

    def __init__(
        self,
        coordinator: "Coordinator",
        mailboxes: dict[SagaId, Mailbox],
        around: Surroundings,
        runtime: Runtime,
        dead: Address,
    ) -> None:
        self._coordinator = coordinator
        self._mailboxes = mailboxes
        self._around = around
        self._runtime = runtime
        self._dead = dead
        # Under which token each of them is run.
        self._tokens: dict[SagaId, int] = {}
        self._windows: dict[SagaId, RestartWindow] = {}
        self.stuck: dict[SagaId, dict[str, str]] = {}

    def __len__(self) -> int:
        return len(self._mailboxes)

    def __contains__(self, saga_id: object) -> bool:
        return saga_id in self._mailboxes

    def mailbox(self, saga_id: SagaId) -> Mailbox | None:
        """The address of one, if it is here."""
        return self._mailboxes.get(saga_id)

    def spawn(self, grant: Grant, opening: Opening | None) -> None:
        """Run one; without an opening its history is read back."""
        saga_id, token = SagaId(grant.saga_id), grant.token
        mailbox = Mailbox(saga_id, self._runtime, keeper=self._coordinator.address, dead=self._dead)
        self._mailboxes[saga_id] = mailbox
        self._tokens[saga_id] = token
        spawn(mailbox, lambda: SagaActor(saga_id, token, self._around, opening))

    def failed(self, failed: Failed) -> None:
        """One's actor has failed: it is restarted after a while."""
        saga_id = SagaId(failed.name)
        mailbox = self._mailboxes.get(saga_id)
        if mailbox is None or mailbox.incarnation != failed.incarnation:
            return
        clock = self._coordinator.clock
        window = self._windows.get(saga_id, RestartWindow(INTENSITY, PERIOD_S))
        window = self._windows[saga_id] = window.add(clock.now_s())
        if window.exceeded:
            self.stuck[saga_id] = {"": f"its actor failed {len(window.restarts)} times: {failed.error}"}
        telemetry.log.error(
            telemetry.ACTOR_FAILED,
            actor=failed.name,
            incarnation=failed.incarnation,
            error=failed.error,
            traceback=failed.traceback,
        )
        wait_s = SLOW_S if window.exceeded else window.backoff_s(BACKOFF_S, BACKOFF_S_MAX)
        after = After(clock.now_at() + wait_s, self._coordinator.address, Respawn(saga_id, failed.incarnation))
        self._coordinator.tell(self._around.timers, after)

    def respawn(self, respawn: Respawn) -> None:
        """Restart one, unless it has been or is over."""
        saga_id = respawn.saga_id
        mailbox = self._mailboxes.get(saga_id)
        if mailbox is None or mailbox.incarnation != respawn.incarnation or mailbox.actor is not None:
            return
        self._around.counters.restarts += 1
        self.stuck.pop(saga_id, None)
        telemetry.log.warning(telemetry.ACTOR_RESTARTED, actor=saga_id, incarnation=respawn.incarnation + 1)
        token = self._tokens[saga_id]
        spawn(mailbox, lambda: SagaActor(saga_id, token, self._around, None))

    def is_stuck(self, saga_id: SagaId, reasons: dict[str, str]) -> None:
        """What a person should look at in one; nothing any more without reasons."""
        if reasons:
            self.stuck[saga_id] = reasons
        else:
            self.stuck.pop(saga_id, None)

    def remove(self, saga_id: SagaId, over: Over) -> bool:
        """One is over, and whoever still asks something of it is told so; False if it is not here."""
        self._tokens.pop(saga_id, None)
        self._windows.pop(saga_id, None)
        self.stuck.pop(saga_id, None)
        mailbox = self._mailboxes.pop(saga_id, None)
        if mailbox is not None:
            _close(mailbox, over)
        return mailbox is not None

    def let_go(self) -> None:
        """End all actors; no instance is over, and whoever has asked something is answered by the next coordinator."""
        for mailbox in list(self._mailboxes.values()):
            _close(mailbox, None)
        self._mailboxes.clear()


def _close(mailbox: Mailbox, dead: Over | None) -> None:
    # Late answers and alarms for an instance that is over matter to nobody, but people wait for theirs; also those
    # whose question its actor has put aside, which gives it back when it is retired.
    if mailbox.actor is not None:
        mailbox.actor.retire()
    mailbox.dead = dead
    mailbox.close()
