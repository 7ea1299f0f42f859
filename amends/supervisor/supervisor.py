"""The actor that performs the restart rules.

It starts its children in order, is told when one fails, and also looks by itself: a child
whose reader has died without a word is restarted, and one that has had a message in hand
for longer than its limit is given up, with its thread, and replaced. Too many restarts in a
period are the supervisor's own failure, and so its keeper's business. What to restart and
when it is too much are the pure rules of `strategy` and `intensity`.
"""

import math
from collections.abc import Sequence

from amends.protocol.errors import AmendsError
from amends.supervisor import telemetry
from amends.supervisor.actor import Actor, Exited, Failed, spawn
from amends.supervisor.child import ChildSpec, check_specs
from amends.supervisor.intensity import RestartWindow
from amends.supervisor.mailbox import Mailbox
from amends.supervisor.runtime import Runtime
from amends.supervisor.strategy import Restart, Strategy, affected, comes_back
from amends.supervisor.telemetry import Counters

LOOK_EVERY_S = 0.25
TURN_LIMIT_S = 30.0
"""A message in hand for longer, in an actor without a limit of its own, counts as a turn that will not end."""
BACKOFF_BASE_S = 0.05
BACKOFF_CAP_S = 2.0


class RestartsExceeded(AmendsError):  # noqa: N818 - reads as the fact it reports
    """A child was restarted more often than its supervisor allows."""


class Supervisor(Actor):
    """Keeps its children alive.

    Args:
        specs: the children in the order of their start; each has this supervisor as keeper from now on.
        window: restarts allowed in a period, over all children.
        others: runtimes whose turns are looked at too, for actors that have another keeper.
        look_every_s: how often to look by itself, in seconds.
    """

    def __init__(
        self,
        specs: Sequence[ChildSpec],
        *,
        strategy: Strategy,
        window: RestartWindow,
        counters: Counters,
        others: Sequence[Runtime] = (),
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        super().__init__()
        check_specs(self.address.name, specs)
        self._specs = {spec.name: spec for spec in specs}
        self._strategy = strategy
        self._window = window
        self._counters = counters
        self._others = others
        self._look_every_s = look_every_s
        # Of each child: its own restarts, for the wait before the next one. The window counts those of all.
        self._own: dict[str, RestartWindow] = {}
        self._due_s: dict[str, float] = {}
        self._ended: set[str] = set()
        self._missing: list[str] = []

    def on_start(self) -> None:
        for spec in self._specs.values():
            spec.mailbox.keeper = self.address
            if spec.mailbox.actor is None:
                self._spawn(spec)

    def on_receive(self, message: object) -> None:
        match message:
            case Failed():
                self._on_failed(message)
            case Exited() if self._is_current(message):
                if comes_back(self._specs[message.name].restart, failed=False):
                    self._restart(message.name)
                else:
                    self._ended.add(message.name)

    def settle(self) -> None:
        now_s = self.clock.now_s()
        for name in [name for name in self._specs if self._due_s.get(name, math.inf) <= now_s]:
            del self._due_s[name]
            self._counters.restarts += 1
            telemetry.log.warning(
                telemetry.ACTOR_RESTARTED, actor=name, incarnation=self._specs[name].mailbox.incarnation + 1
            )
            self._spawn(self._specs[name])
        self._look(now_s)
        self.wakes_at_s = min([now_s + self._look_every_s, *self._due_s.values()])

    def let_go(self, *, hung: bool) -> None:
        for spec in reversed(self._specs.values()):
            retire(spec)

    def on_stop(self) -> None:
        self.let_go(hung=False)

    def _on_failed(self, failed: Failed) -> None:
        if not self._is_current(failed):
            return
        telemetry.log.error(
            telemetry.ACTOR_FAILED,
            actor=failed.name,
            incarnation=failed.incarnation,
            error=failed.error,
            traceback=failed.traceback,
        )
        if comes_back(self._specs[failed.name].restart, failed=True):
            self._restart(failed.name)
        else:
            self._ended.add(failed.name)

    def _is_current(self, report: Failed | Exited) -> bool:
        """A report about an incarnation that was replaced since says nothing about the one alive."""
        spec = self._specs.get(report.name)
        return spec is not None and spec.mailbox.incarnation == report.incarnation and report.name not in self._due_s

    def _restart(self, name: str) -> None:
        now_s = self.clock.now_s()
        self._window = self._window.add(now_s)
        if self._window.exceeded:
            telemetry.log.error(
                telemetry.SUPERVISOR_GAVE_UP,
                supervisor=self.address.name,
                child=name,
                restarts=len(self._window.restarts),
                period_s=self._window.period_s,
            )
            raise RestartsExceeded(
                f"supervisor {self.address.name!r}: child {name!r} failed; {len(self._window.restarts)} restarts "
                f"in {self._window.period_s} s, wanted at most {self._window.intensity}"
            )
        own = self._own.get(name, RestartWindow(self._window.intensity, self._window.period_s)).add(now_s)
        self._own[name] = own
        due_s = now_s + own.backoff_s(BACKOFF_BASE_S, BACKOFF_CAP_S)
        reached = [n for n in affected(self._strategy, list(self._specs), name) if n not in self._ended]
        for sibling in reversed(reached):
            retire(self._specs[sibling])
        # A temporary child never comes back, whoever's failure it was that ended it.
        self._ended.update(n for n in reached if self._specs[n].restart is Restart.TEMPORARY)
        self._due_s.update((n, due_s) for n in reached if n not in self._ended)

    def _spawn(self, spec: ChildSpec) -> None:
        try:
            spawn(spec.mailbox, spec.factory)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the child has failed to start
            # A constructor that fails is a failure like any other, of an incarnation that never read.
            spec.mailbox.incarnation += 1
            self.address.tell(
                Failed(spec.name, spec.mailbox.incarnation, type(error).__name__, "in the actor's constructor")
            )

    def _look(self, now_s: float) -> None:
        watched = [spec for name, spec in self._specs.items() if name not in self._due_s and name not in self._ended]
        for spec in watched:
            if spec.turn_limit_s is not None:
                self._look_at(spec.mailbox, spec.turn_limit_s, now_s)
        for mailbox in (mailbox for runtime in self._others for mailbox in runtime.in_turn()):
            self._look_at(mailbox, TURN_LIMIT_S, now_s)
        # A reader that has just failed is missing until its report is read; one missing twice said nothing.
        missing = [spec.name for spec in watched if spec.mailbox.actor is None]
        for name in [name for name in missing if name in self._missing]:
            incarnation = self._specs[name].mailbox.incarnation
            self._on_failed(Failed(name, incarnation, "it was gone without a report", ""))
        self._missing = missing

    def _look_at(self, mailbox: Mailbox, limit_s: float, now_s: float) -> None:
        since_s, actor = mailbox.busy_since_s, mailbox.actor
        if since_s is None or actor is None or now_s - since_s <= limit_s:
            return
        if actor.give_up():
            telemetry.log.error(telemetry.ACTOR_STUCK, actor=mailbox.name, turn_s=round(now_s - since_s, 3))
            self._counters.stuck_turns += 1


def retire(spec: ChildSpec) -> None:
    """End a child's incarnation now; its letters wait for the next one."""
    actor = spec.mailbox.actor
    if actor is not None:
        actor.retire()
