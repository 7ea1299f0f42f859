"""The shop, put together: some of its services and the sagas of one order system as a running whole.

Everything the systems and demos need of the engine's surroundings is here: opening a system in a
folder, with a network that loses messages if the plan says so, and killing actors in it.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from amends import Handle, Saga, Service, System
from amends.actors.service import ServiceSpec
from amends.demo import cards
from amends.demo.faults import FaultPlan, Faults, fraction
from amends.demo.messages import ReceiveStock
from amends.demo.stocking import Stalled, StockUp
from amends.testing.unreliable import unreliable

DELAY_S = 0.3
CALM = FaultPlan()


class Shop:
    """One order system on one folder; the five are made from this.

    Args:
        folder: where `journal.db` and a `<service>.db` each are, or will be made.
        services: classes whose constructor takes the faults alone, or specs.
        plan: what goes wrong.

    Attributes:
        system: what runs it.
        sagas: its own, without those that fill the shelves.
        services: the names of its services.
    """

    def __init__(
        self,
        folder: str | Path,
        sagas: Sequence[type[Saga]],
        services: Sequence[type[Service] | ServiceSpec],
        plan: FaultPlan = CALM,
    ) -> None:
        faults = Faults(plan)
        specs = [service if isinstance(service, ServiceSpec) else service.spec(faults) for service in services]
        bad_network = plan.lost or plan.doubled or plan.delayed
        self.folder = Path(folder)
        self.sagas = tuple(sagas)
        self.plan = plan
        self.services = tuple(spec.service.name for spec in specs)
        self.system = System(
            folder,
            # Somebody else's inventory may take no deliveries.
            sagas=[*sagas, StockUp] if any(ReceiveStock.__name__ in s.service.handlers for s in specs) else sagas,
            services=specs,
            transport=unreliable(
                seed=plan.seed, lost=plan.lost, doubled=plan.doubled, delayed=plan.delayed, delay_s=DELAY_S
            )
            if bad_network
            else None,
        )

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @cached_property
    def secret(self) -> bytes:
        """The key under which cards have their tokens here."""
        return cards.secret(self.folder)

    def open(self) -> None:
        """Start it; what an earlier process left open goes on by itself."""
        self.system.open()

    def close(self) -> None:
        """Stop it; what has not ended goes on when it is opened again."""
        self.system.stop()

    def finish(self, timeout_s: float) -> None:
        """Wait until nothing is under way any more; Stalled if that takes longer."""
        try:
            self.system.wait_until_idle(timeout_s)
        except TimeoutError:
            raise Stalled(f"{self.system.status().open} orders are under way after {timeout_s} s") from None

    def kill_someone(self, order_id: str, handle: Handle) -> None:
        """Let an actor crash, if the plan has it that this order sees one crash: a service or the order's own saga."""
        plan = self.plan
        if plan.killed > 0 and fraction(plan.seed, order_id, "kill") < plan.killed:
            victims = (*self.services, None)
            victim = victims[int(fraction(plan.seed, order_id, "victim") * len(victims))]
            self.system.kill(handle.saga_id if victim is None else victim)
