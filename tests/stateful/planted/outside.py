"""Payments outside: a saga whose effects are another company's, for bugs that show nowhere else."""

import msgspec

from amends import (
    Done,
    IdempotencyKey,
    Refused,
    Results,
    Retry,
    Saga,
    Service,
    handles,
    retriable,
    step,
    undoes,
    verifies,
)
from amends.testing import Schedule, SimulatedSystem
from tests.stateful.asking import Caller, everyone_was_told_the_truth, let_it_end


class Charge(msgspec.Struct, frozen=True):
    """What a till is asked."""

    amount_minor: int


class Print(msgspec.Struct, frozen=True):
    """What a printer is asked."""


class Pay(Saga, name="pay"):
    """A payment outside, asked for once and then asked about, and a receipt."""

    input: int

    @step(to="till", timeout_s=1.0, retry=Retry(attempts=1, base_s=0.1, cap_s=1.0))
    def charge(self, amount_minor: int, done: Results) -> Charge:
        return Charge(amount_minor)

    @step(to="till", after=[charge], timeout_s=1.0, retry=Retry(attempts=1, base_s=0.1, cap_s=1.0))
    def fee(self, amount_minor: int, done: Results) -> Charge:
        return Charge(1)

    @retriable(to="printer", after=[fee], timeout_s=1.0, retry=Retry(attempts=2, base_s=0.1, cap_s=1.0))
    def receipt(self, amount_minor: int, done: Results) -> Print:
        return Print()


class Provider:
    """The world outside: it charges once per key, gives back once, and remembers both longer than any process lives."""

    def __init__(self) -> None:
        self.charged: set[str] = set()
        self.given_back: set[str] = set()


class Till(Service, name="till"):
    """It calls a provider, and asks it when nobody knows."""

    def __init__(self, provider: Provider) -> None:
        super().__init__()
        self.provider = provider

    @handles(Charge, outside=True)
    def charge(self, command: Charge, key: IdempotencyKey) -> Done[str] | Refused:
        self.provider.charged.add(str(key))
        return Done(str(key))

    @verifies(Charge)
    def ask(self, command: Charge, key: IdempotencyKey) -> Done[str] | None:
        return Done(str(key)) if str(key) in self.provider.charged else None

    @undoes(Charge)
    def give_back(self, command: Charge, result: str) -> None:
        self.provider.given_back.add(result)


class Printer(Service, name="printer"):
    """Has nothing to do with money."""

    @handles(Print)
    def print(self, command: Print) -> Done[None]:
        return Done()


def outside(schedule: Schedule, *, refuses: bool) -> SimulatedSystem:
    """Whatever happens on the way, the provider has been paid if the instance is completed, and only then."""
    provider = Provider()
    system = SimulatedSystem(sagas=[Pay], services=[Till.spec(provider), Printer], schedule=schedule)
    if refuses:
        system.service("printer").unavailable(Print, times=2)
    with system:
        callers = [Caller(system, Pay, number, f"p{number}") for number in (1, 2)]
        for number, caller in enumerate(callers):
            caller.ask(0.5 * number)
        # Also a call that hangs is given up by then.
        system.advance(90.0)
        let_it_end(system, callers)
        # A call that was late for its own instance may still be on its way.
        system.advance(30.0)
        system.check()
        everyone_was_told_the_truth(system, callers)
        for saga_id, known in system.world.instances.items():
            keys = provider.charged - provider.given_back
            paid = sorted(key.partition("/")[2] for key in keys if key.startswith(saga_id))
            assert known.state is not None
            assert known.state.ended is not None
            wanted = ["charge", "fee"] if known.state.ended.completed else []
            assert paid == wanted, f"{known.who}: {known.state.ended}, and paid is {paid}"
    return system
