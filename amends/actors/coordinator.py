"""The coordinator: the front door.

It starts an instance once per key, admits no more than a limit, and runs every open instance
again after a restart; how they are kept is `instances`' business. Whether a key is known is
the journal's to say. Callers' futures live in `Callers`, which outlives it.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, Final

import msgspec

from amends.actors.callers import (
    Asked,
    AskStatus,
    AwaitIdle,
    Callers,
    CoordinatorStatus,
    Drain,
    Over,
    Starting,
    Submit,
    ToInstance,
)
from amends.actors.continuing import Plans, state_of
from amends.actors.instances import Instances, Opening, Respawn
from amends.actors.journal.messages import (
    Adopted,
    History,
    Known,
    ListOpen,
    NotOpened,
    Open,
    Opened,
    OpenPage,
    Quarantine,
    Relay,
    Relayed,
    Watch,
)
from amends.actors.journal.store import Grant
from amends.actors.saga import (
    Cancel,
    InstanceEnded,
    InstanceStuck,
    InstanceUnreadable,
    Intervene,
    Surroundings,
)
from amends.protocol.errors import (
    AmendsError,
    BrokerUnavailable,
    JournalUnavailable,
    KeyConflict,
    Overloaded,
    SystemStopped,
)
from amends.protocol.events import CancelAsked
from amends.protocol.machine import begin
from amends.protocol.messages import SagaId
from amends.protocol.records import Started
from amends.protocol.state import outcome
from amends.supervisor import telemetry
from amends.supervisor.actor import Actor, Failed
from amends.supervisor.mailbox import Address, Mailbox
from amends.supervisor.runtime import Runtime

PAGE: Final = 500
"""Instances recovered at a time."""

_ENDED: Final = Over()


class Coordinator(Actor):
    """Starts, finds, keeps and recovers instances.

    Args:
        sagas: the open instances' addresses, shared with the transport, which only reads it.
        max_open: instances that may be open before new ones are refused.
    """

    turn_budget = 500

    def __init__(
        self,
        plans: Plans,
        around: Surroundings,
        sagas: dict[SagaId, Mailbox],
        callers: Callers,
        runtime: Runtime,
        dead: Address,
        max_open: int,
    ) -> None:
        super().__init__()
        self._plans = plans
        self._around = around
        self._instances = Instances(self, sagas, around, runtime, dead)
        self._callers = callers
        self._max_open = max_open
        # Instances that are on disk, by the word of a journal that may have been replaced since: listed they are run.
        self._unborn: dict[SagaId, Opening] = {}
        self._unreadable: dict[SagaId, str] = {}
        self._recovered = False
        self._found = 0
        self._ended: dict[str, int] | None = None
        self._draining = False
        self._awaiting_idle: list[Future[Any]] = []
        self._status_asks: list[AskStatus] = []
        self._later: list[ToInstance] = []
        # Of this turn: starts that were answered, instances whose callers were told, and what was asked.
        self._answered: set[SagaId] = set()
        self._told: set[SagaId] = set()
        self._asked: list[Asked] = []

    def on_start(self) -> None:
        self.tell(self._around.journal, ListOpen("", PAGE, self.address, self.incarnation))
        # Asked for by an earlier coordinator; the journal says "known" of those it has taken since.
        for starting in self._callers.starting.values():
            self._open(starting)
        for asked in list(self._callers.asked):
            if isinstance(asked, Drain | AwaitIdle):
                self._await_idle(asked)
            elif isinstance(asked, AskStatus):
                self._status_asks.append(asked)
            else:
                problem = f"instance {asked.saga_id}: its actors failed with this in hand; look at it and ask again"
                self.answer(asked.future, AmendsError(problem))

    def settle(self) -> None:
        for saga_id in self._answered:
            self._callers.starting.pop(saga_id, None)
        for saga_id in self._told:
            self._callers.waiting.pop(saga_id, None)
        for asked in self._asked:
            self._callers.ask(asked)
        self._answered.clear()
        self._told.clear()
        self._asked.clear()
        # Whatever this turn was about, it may have been the last that somebody waits for.
        self._check_idle()

    def let_go(self, *, hung: bool) -> None:
        self._instances.let_go()

    def on_receive(self, message: object) -> None:
        handler = _HANDLERS.get(type(message))
        if handler is None:
            raise AmendsError(f"the coordinator was told a {type(message).__name__}")
        handler(self, message)

    # Starting.

    def _on_submit(self, submit: Submit) -> None:
        open_instances = len(self._instances) + self._starting
        if submit.saga_id in self._callers.starting:
            return  # by a coordinator that failed in that very turn; asked for again in `on_start`
        if self._draining:
            self._refuse(submit, SystemStopped("the system is draining; start this one again after a restart"))
        elif open_instances >= self._max_open:
            self._refuse(submit, Overloaded(open_instances, self._max_open))
        else:
            saga_id = submit.saga_id
            started = Started(
                saga_id,
                submit.plan.name,
                submit.plan.version,
                saga_id if submit.key is None else submit.key,
                msgspec.Raw(submit.data),
                self.clock.now_at(),
                submit.plan.digest,
            )
            decision = begin(submit.plan, started)
            starting = self._callers.starting[saga_id] = Starting(submit, started, decision)
            self._open(starting)

    def _open(self, starting: Starting) -> None:
        # Only the journal can tell whether its key is new, which is what the transport has no room for.
        closed = self._around.transport.full
        self.tell(self._around.journal, Open(starting.started, starting.decision.records, self.address, closed))

    @property
    def _starting(self) -> int:
        """How many starts the journal has not answered."""
        return len(self._callers.starting) - len(self._answered)

    def _take_start(self, saga_id: SagaId) -> Starting | None:
        """The start that is answered now, unless it has been."""
        if saga_id in self._answered:
            return None
        starting = self._callers.starting.get(saga_id)
        if starting is not None:
            self._answered.add(saga_id)
        return starting

    def _on_opened(self, opened: Opened) -> None:
        starting = self._take_start(opened.saga_id)
        if starting is None or opened.saga_id in self._instances:
            return
        self._callers.wait(opened.saga_id, starting.submit.outcome)
        self.answer(starting.submit.accepted, opened.saga_id)
        opening = starting.submit.plan, starting.decision
        if self._hears_the_journal:
            self._instances.spawn(Grant(opened.saga_id, opened.token), opening)
        else:
            self._unborn[opened.saga_id] = opening
        telemetry.info(
            telemetry.SAGA_STARTED,
            saga=starting.submit.plan.name,
            saga_id=opened.saga_id,
            key=starting.decision.state.key,
        )

    def _on_known(self, known: Known) -> None:
        starting = self._take_start(known.saga_id)
        if starting is None:
            return
        submit, instance = starting.submit, known.instance
        saga_id = SagaId(instance.saga_id)
        started = known.records[0]
        assert isinstance(started, Started)
        if bytes(started.input) != submit.data:
            self._refuse(submit, KeyConflict(instance.saga, instance.key, instance.saga_id))
            return
        self.answer(submit.accepted, saga_id)
        if instance.state in ("completed", "compensated"):
            self.answer(submit.outcome, self._outcome_of(known.records))
        elif saga_id in self._unreadable or instance.state == "quarantined":
            self.answer(
                submit.outcome, AmendsError(self._unreadable.get(saga_id, f"instance {saga_id} is quarantined"))
            )
        else:
            self._callers.wait(saga_id, submit.outcome)
            self._watch_unless_here(saga_id)

    def _on_not_opened(self, refused: NotOpened) -> None:
        starting = self._take_start(refused.saga_id)
        if starting is None:
            return
        if refused.corrupt:
            self._refuse(starting.submit, AmendsError(f"the key's instance can't go on: {refused.reason}"))
        elif refused.closed:
            self._refuse(starting.submit, BrokerUnavailable(refused.reason, len(self._instances), self._max_open))
        else:
            self._refuse(
                starting.submit, JournalUnavailable(f"the journal can't take a new instance: {refused.reason}")
            )

    def _refuse(self, submit: Submit, error: AmendsError) -> None:
        self.answer(submit.accepted, error)
        self.answer(submit.outcome, error)

    # Recovering.

    @property
    def _hears_the_journal(self) -> bool:
        """Whether what it says comes from the incarnation that runs now: its tokens are good, and all is listed."""
        return self._ended is not None

    def _on_open_page(self, page: OpenPage) -> None:
        if page.asker != self.incarnation:
            return
        if page.counts is not None:
            self._ended = {state: page.counts.get(state, 0) for state in ("completed", "compensated", "quarantined")}
            self._tell_status()
        self._found += self._take_over(page.grants)
        if not page.last:
            self.tell(self._around.journal, ListOpen(page.grants[-1].saga_id, PAGE, self.address, self.incarnation))
            return
        self._recovered = True
        self._unborn.clear()
        if self._found:
            telemetry.info(telemetry.SAGA_RECOVERED, instances=self._found)
        # Somebody may still wait for an instance whose end an earlier coordinator did not hear of, or that was adopted.
        for saga_id in self._callers.waiting:
            self._watch_unless_here(saga_id)
        later, self._later = self._later, []
        for message in later:
            self._pass_on(message)

    def _on_adopted(self, adopted: Adopted) -> None:
        if self._hears_the_journal:
            telemetry.info(telemetry.SAGA_ADOPTED, instances=self._take_over(adopted.grants))

    def _take_over(self, grants: Iterable[Grant]) -> int:
        """Run open instances that are not run here yet; how many of them others have begun."""
        others = 0
        for grant in grants:
            if grant.saga_id not in self._instances:
                opening = self._unborn.pop(SagaId(grant.saga_id), None)
                others += opening is None
                self._instances.spawn(grant, opening)
        return others

    def _watch_unless_here(self, saga_id: SagaId) -> None:
        """See that its callers hear of its end, though another node may run it."""
        # Before all is recovered nobody knows; whoever waits is looked at then.
        if self._recovered and saga_id not in self._instances:
            self.tell(self._around.journal, Watch(saga_id, self.address))

    def _on_history(self, history: History) -> None:
        if history.problem:
            self._tell_waiters(history.saga_id, AmendsError(f"instance {history.saga_id}: {history.problem}"))
        elif history.instance is not None and history.instance.state in ("completed", "compensated"):
            self._tell_waiters(history.saga_id, self._outcome_of(history.records))
        elif history.instance is not None and history.instance.state == "quarantined":
            self._tell_waiters(history.saga_id, AmendsError(f"instance {history.saga_id} is quarantined"))

    def _outcome_of(self, records: Iterable[Any]) -> object:
        try:
            plan, state = state_of(self._plans, tuple(records))
            return outcome(plan, state)
        except AmendsError as error:
            return error

    # Keeping.

    def _on_failed(self, failed: Failed) -> None:
        self._instances.failed(failed)

    def _on_respawn(self, respawn: Respawn) -> None:
        self._instances.respawn(respawn)

    def _on_stuck(self, stuck: InstanceStuck) -> None:
        self._instances.is_stuck(stuck.saga_id, stuck.reasons)

    def _on_ended(self, ended: InstanceEnded) -> None:
        was_here = self._instances.remove(ended.saga_id, _ENDED)
        # Before the journal has told its counts no instance runs, and those will have this one.
        if was_here and self._ended is not None:
            self._ended[type(ended.outcome).__name__.lower()] += 1
        self._tell_waiters(ended.saga_id, ended.outcome)

    def _on_unreadable(self, unreadable: InstanceUnreadable) -> None:
        saga_id = unreadable.saga_id
        self._unreadable[saga_id] = unreadable.reason
        telemetry.log.error(telemetry.SAGA_QUARANTINED, saga_id=saga_id, reason=unreadable.reason)
        problem = AmendsError(f"instance {saga_id} can't go on: {unreadable.reason}")
        self._instances.remove(saga_id, Over(problem))
        if unreadable.corrupt:
            self.tell(self._around.journal, Quarantine(saga_id))
        self._tell_waiters(saga_id, problem)

    # People.

    def _on_to_instance(self, message: ToInstance) -> None:
        self._asked.append(message)
        self._pass_on(message)

    def _pass_on(self, message: ToInstance) -> None:
        mailbox = self._instances.mailbox(message.saga_id)
        if mailbox is not None:
            self.tell(mailbox, message.message)
        elif message.saga_id in self._unreadable:
            problem = f"instance {message.saga_id} can't go on: {self._unreadable[message.saga_id]}"
            self.answer(message.future, AmendsError(problem))
        elif not self._recovered:
            self._later.append(message)
        else:
            # Perhaps another node runs it.
            event = CancelAsked() if isinstance(message.message, Cancel) else message.message.event
            self.tell(self._around.journal, Relay(message.saga_id, event, message.future))

    def _on_relayed(self, relayed: Relayed) -> None:
        event, future = relayed.event, relayed.future
        asked = Cancel(future) if isinstance(event, CancelAsked) else Intervene(event, future)
        self._on_to_instance(ToInstance(relayed.saga_id, asked, future))

    def _on_await_idle(self, waiting: Drain | AwaitIdle) -> None:
        self._asked.append(waiting)
        self._await_idle(waiting)

    def _await_idle(self, waiting: Drain | AwaitIdle) -> None:
        self._draining = self._draining or isinstance(waiting, Drain)
        self._awaiting_idle.append(waiting.future)

    def _on_ask_status(self, ask: AskStatus) -> None:
        self._asked.append(ask)
        self._status_asks.append(ask)
        self._tell_status()

    def _tell_status(self) -> None:
        if self._ended is None:
            return  # the journal's first word is still to come
        status = CoordinatorStatus(
            len(self._instances),
            self._starting,
            dict(self._ended),
            dict(self._instances.stuck),
            dict(self._unreadable),
            self._recovered,
        )
        for ask in self._status_asks:
            self.answer(ask.future, status)
        self._status_asks.clear()

    def _check_idle(self) -> None:
        if self._awaiting_idle and self._recovered and not self._instances and not self._starting:
            for future in self._awaiting_idle:
                self.answer(future, None)
            self._awaiting_idle.clear()

    def _tell_waiters(self, saga_id: SagaId, value: object) -> None:
        self._told.add(saga_id)
        for future in self._callers.waiting.get(saga_id, ()):
            self.answer(future, value)


_HANDLERS: dict[type, Callable[[Coordinator, Any], None]] = {
    Submit: Coordinator._on_submit,
    Opened: Coordinator._on_opened,
    Known: Coordinator._on_known,
    NotOpened: Coordinator._on_not_opened,
    OpenPage: Coordinator._on_open_page,
    Adopted: Coordinator._on_adopted,
    Relayed: Coordinator._on_relayed,
    History: Coordinator._on_history,
    Failed: Coordinator._on_failed,
    Respawn: Coordinator._on_respawn,
    InstanceEnded: Coordinator._on_ended,
    InstanceStuck: Coordinator._on_stuck,
    InstanceUnreadable: Coordinator._on_unreadable,
    ToInstance: Coordinator._on_to_instance,
    Drain: Coordinator._on_await_idle,
    AwaitIdle: Coordinator._on_await_idle,
    AskStatus: Coordinator._on_ask_status,
}
