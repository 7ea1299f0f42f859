"""A saga whose steps are calls to the world outside: one provider that can be asked, one that can't.

The providers outlive every process, as providers do, and do each thing once for a key. What they
have done in the end is compared with what the journal says.
"""

from dataclasses import dataclass, field
from typing import Final

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
from tests.stateful.asking import Caller, everyone_was_told_the_truth, let_it_end, say_how_to_replay

TROUBLE_S: Final = 90.0
"""Long enough for a call that hangs to be given up."""

_RETRY: Final = Retry(attempts=2, base_s=0.1, cap_s=1.0, slow_s=60.0)


class Wish(msgspec.Struct, frozen=True):
    """The saga's input; a bank without `credit` refuses."""

    name: str
    credit: bool = True


class Book(msgspec.Struct, frozen=True):
    """Outside, and nobody can be asked what became of it."""

    name: str


class Charge(msgspec.Struct, frozen=True):
    """Outside, and the bank can be asked."""

    name: str
    credit: bool


class Write(msgspec.Struct, frozen=True):
    """Outside, after the decision."""

    name: str


@dataclass
class Provider:
    """Somebody outside: does each thing once for a key.

    Attributes:
        done: what was done, by key; undone: which of them was taken back.
    """

    done: dict[str, str] = field(default_factory=dict)
    undone: set[str] = field(default_factory=set)

    def do(self, key: str, name: str) -> str:
        """Done, now or before; what was taken back since stays so."""
        self.done.setdefault(key, name)
        return key

    def undo(self, key: str) -> None:
        """Taken back, now or before."""
        assert key in self.done, f"{key} is to be taken back, and was never done"
        self.undone.add(key)


class Hotel(Service, name="hotel"):
    """Calls a provider with its key, and calls again when in doubt."""

    def __init__(self, provider: Provider) -> None:
        super().__init__()
        self.provider = provider

    @handles(Book, outside=True, limit_s=5.0)
    def book(self, command: Book, key: IdempotencyKey) -> Done[str]:
        return Done(self.provider.do(str(key), command.name))

    @undoes(Book, outside=True, limit_s=5.0)
    def cancel(self, command: Book, result: str, key: IdempotencyKey) -> None:
        assert result == str(key)
        self.provider.undo(result)

    @handles(Write, outside=True)
    def write(self, command: Write, key: IdempotencyKey) -> Done[str]:
        return Done(self.provider.do(str(key), command.name))


class Bank(Service, name="bank"):
    """Calls a provider that also tells what it has done."""

    def __init__(self, provider: Provider) -> None:
        super().__init__()
        self.provider = provider

    @handles(Charge, outside=True)
    def charge(self, command: Charge, key: IdempotencyKey) -> Done[str] | Refused:
        if not command.credit:
            return Refused("no credit")
        return Done(self.provider.do(str(key), command.name))

    @verifies(Charge)
    def find(self, command: Charge, key: IdempotencyKey) -> Done[str] | None:
        return Done(str(key)) if str(key) in self.provider.done else None

    @undoes(Charge)
    def refund(self, command: Charge, result: str) -> None:
        self.provider.undo(result)


class Stay(Saga, name="stay"):
    """A room and the money for it, side by side, and then a letter."""

    input: Wish

    @step(to="hotel", timeout_s=1.0, retry=_RETRY)
    def room(self, wish: Wish, done: Results) -> Book:
        return Book(wish.name)

    @step(to="bank", timeout_s=1.0, retry=_RETRY)
    def money(self, wish: Wish, done: Results) -> Charge:
        return Charge(wish.name, wish.credit)

    @retriable(to="hotel", after=[room], timeout_s=1.0, retry=_RETRY)
    def letter(self, wish: Wish, done: Results) -> Write:
        return Write(wish.name)


def run(schedule: Schedule, *, credit: bool = True) -> SimulatedSystem:
    """Two stays, the second never without credit."""
    provider = Provider()
    system = SimulatedSystem(sagas=[Stay], services=[Hotel.spec(provider), Bank.spec(provider)], schedule=schedule)
    try:
        with system:
            callers = [Caller(system, Stay, Wish("o1", credit), "o1"), Caller(system, Stay, Wish("o2"), "o2")]
            for number, caller in enumerate(callers):
                caller.ask(number * 0.5)
            system.advance(TROUBLE_S)
            let_it_end(system, callers)
            system.check()
            everyone_was_told_the_truth(system, callers)
            _providers_agree(system, provider)
    except Exception as error:
        say_how_to_replay(error, f"abroad.run(schedule, credit={credit})", system)
        raise
    return system


def _providers_agree(system: SimulatedSystem, provider: Provider) -> None:
    """What was done outside is what the journal says, and nothing else is."""
    left = dict(provider.done)
    for saga_id, known in system.world.instances.items():
        assert known.state is not None
        assert known.state.ended is not None
        for name in known.plan.steps:
            key = f"{saga_id}/{name}"
            happened = left.pop(key, None) is not None, key in provider.undone
            wanted = ((True, False),) if known.state.ended.completed else ((False, False), (True, True))
            if name == "letter" and not known.state.ended.completed:
                wanted = ((False, False),)
            assert happened in wanted, f"{known.who}, {name}: (done, taken back) {happened}, {known.state.ended}"
    assert not left, f"done for no instance: {left}"
