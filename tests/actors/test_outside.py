"""Effects outside the database: begun on disk first, called beside the turn, asked about when nobody knows."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from amends import (
    Compensated,
    Completed,
    Done,
    IdempotencyKey,
    Refused,
    Results,
    Retry,
    Saga,
    Service,
    System,
    Unavailable,
    handles,
    step,
    undoes,
    verifies,
)
from tests.actors.patience import until
from tests.actors.trip import LONG_S, rows_of


class Charge(msgspec.Struct, frozen=True):
    """What a till is asked."""

    name: str


class Payment(msgspec.Struct, frozen=True):
    """The saga's input."""

    name: str


_QUICK = Retry(attempts=3, base_s=0.01, cap_s=0.02, slow_s=0.05)
_OFTEN = Retry(attempts=1000, base_s=0.01, cap_s=0.02, slow_s=0.05)


class Pay(Saga, name="pay"):
    """One step, asked a few times."""

    input: Payment

    @step(to="till", retry=_QUICK)
    def charge(self, payment: Payment, done: Results) -> Charge:
        return Charge(payment.name)


class PayInTime(Saga, name="pay-in-time"):
    """Attempts are short, so that what comes later comes after its timeout."""

    input: Payment

    @step(to="till", retry=_OFTEN, timeout_s=0.05)
    def charge(self, payment: Payment, done: Results) -> Charge:
        return Charge(payment.name)


class GiveUpSoon(Saga, name="give-up-soon"):
    """One short attempt; then it is resolved."""

    input: Payment

    @step(to="till", retry=Retry(attempts=1, base_s=0.01, cap_s=0.02, slow_s=0.05), timeout_s=0.05)
    def charge(self, payment: Payment, done: Results) -> Charge:
        return Charge(payment.name)


class Provider:
    """The world outside: it charges once per key, and remembers it.

    Attributes:
        calls: keys it was called with; charged: those it really charged; given_back: names undone by the service.
        before, after: what happens to a call on its way there and back.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.asked: list[str] = []
        self.charged: list[str] = []
        self.threads: set[str] = set()
        self.before: Callable[[int], Any] = lambda call: None
        self.after: Callable[[int], Any] = lambda call: None

    def charge(self, key: IdempotencyKey) -> Any:
        self.threads.add(threading.current_thread().name)
        self.calls.append(str(key))
        call = len(self.calls)
        answer = self.before(call)
        if answer is not None:
            return answer
        if str(key) not in self.charged:
            self.charged.append(str(key))
        self.after(call)
        return Done(f"receipt of {key}")

    def ask(self, key: IdempotencyKey) -> Any:
        self.asked.append(str(key))
        return Done(f"receipt of {key}") if str(key) in self.charged else None


class Till(Service, name="till", migrations=("create table undone (name text)",), handler_timeout_s=0.5):
    """Without `@verifies`: it calls again with the same key."""

    def __init__(self, provider: Provider) -> None:
        super().__init__()
        self.provider = provider

    @handles(Charge, outside=True)
    def charge(self, command: Charge, key: IdempotencyKey) -> Done[str] | Refused | Unavailable:
        return self.provider.charge(key)  # type: ignore[no-any-return]  # the test's own choice

    @undoes(Charge)
    def give_back(self, command: Charge, result: str) -> None:
        assert result.startswith("receipt of")
        self.db.execute("insert into undone values (?)", (command.name,))


class CarefulTill(Till, name="till", migrations=Till.migrations, handler_timeout_s=0.5):
    """With `@verifies`: it asks what became of the key."""

    @verifies(Charge)
    def ask(self, command: Charge, key: IdempotencyKey) -> Done[str] | Refused | None:
        return self.provider.ask(key)  # type: ignore[no-any-return]  # the test's own choice


@pytest.fixture
def provider() -> Provider:
    """The world outside."""
    return Provider()


Opened = Callable[..., System]


@pytest.fixture
def opened(tmp_path: Path, provider: Provider, nobody_left: None) -> Iterator[Opened]:
    """Open the system on the test's folder; every one is stopped at the end."""
    systems: list[System] = []

    def make(till: type[Till] = Till) -> System:
        system = System(tmp_path, sagas=[Pay, PayInTime, GiveUpSoon], services=[till.spec(provider)])
        systems.append(system)
        return system.open()

    yield make
    for system in systems:
        system.stop()


def fence(folder: Path) -> list[str]:
    """What the till remembers."""
    return [state for (state,) in rows_of(folder / "till.db", "select state from amends_fence")]


def undone(folder: Path) -> list[str]:
    """Whose charge was given back."""
    return [name for (name,) in rows_of(folder / "till.db", "select name from undone")]


BOTH = pytest.mark.parametrize("till", [Till, CarefulTill])


def test_call_is_made_beside_the_turn(opened: Opened, provider: Provider, tmp_path: Path) -> None:
    """`begun` is on disk before the call leaves, and the service serves others while it runs."""
    seen: list[list[str]] = []
    others_done = threading.Event()

    def wait_for_the_other(call: int) -> None:
        if call == 1:
            seen.append(fence(tmp_path))
            others_done.wait(LONG_S)

    provider.before = wait_for_the_other
    system = opened()
    first = system.start(Pay, Payment("a"))
    until(lambda: bool(seen))
    assert isinstance(system.run(Pay, Payment("b"), timeout_s=LONG_S), Completed)
    others_done.set()
    assert isinstance(first.result(LONG_S), Completed)
    assert seen == [["begun"]]
    assert provider.threads == {"amends-outside"}


def test_call_gets_the_idempotency_key(opened: Opened, provider: Provider) -> None:
    """The key names the instance and the step, and is what the provider gets."""
    handle = opened().start(Pay, Payment("a"))
    handle.result(LONG_S)
    assert provider.calls == [f"{handle.saga_id}/charge"]


def test_refusal_from_outside(opened: Opened, provider: Provider, tmp_path: Path) -> None:
    """A no from outside is recorded and ends the saga."""
    provider.before = lambda call: Refused("card declined")
    assert opened().run(Pay, Payment("a"), timeout_s=LONG_S) == Compensated("charge", "card declined")
    assert fence(tmp_path) == ["refused"]


@BOTH
def test_call_that_raises(opened: Opened, provider: Provider, till: type[Till]) -> None:
    """A call that failed on its way there is made again with the same key."""
    provider.before = lambda call: 1 / 0 if call == 1 else None
    assert isinstance(opened(till).run(Pay, Payment("a"), timeout_s=LONG_S), Completed)
    assert len(provider.calls) == 2
    assert len(set(provider.calls)) == len(provider.charged) == 1


def test_call_that_raised_on_its_way_back_is_asked_about(opened: Opened, provider: Provider) -> None:
    """Where there is a `@verifies`, what was done is found out and not done again."""
    provider.after = lambda call: 1 / 0
    assert isinstance(opened(CarefulTill).run(Pay, Payment("a"), timeout_s=LONG_S), Completed)
    assert (len(provider.calls), len(provider.asked)) == (1, 1)


def test_call_that_raised_on_its_way_back_is_made_again(opened: Opened, provider: Provider) -> None:
    """Without a `@verifies` the key keeps the provider from doing it twice."""
    provider.after = lambda call: 1 / 0 if call == 1 else None
    assert isinstance(opened().run(Pay, Payment("a"), timeout_s=LONG_S), Completed)
    assert (len(provider.calls), len(provider.charged)) == (2, 1)


def test_call_that_returns_no_answer(opened: Opened, provider: Provider, tmp_path: Path) -> None:
    """What is no answer counts as not known; the provider is asked, and as it knows nothing, it is never done."""
    provider.before = lambda call: "yes"
    outcome = opened(CarefulTill).run(Pay, Payment("a"), timeout_s=LONG_S)
    assert isinstance(outcome, Compensated)
    assert (outcome.step, fence(tmp_path), provider.charged) == ("charge", ["undone"], [])


def test_call_that_leaves_by_another_door(opened: Opened, provider: Provider) -> None:
    """A call that ends its thread has failed like any other, and keeps nobody waiting."""

    def leave(call: int) -> None:
        if call == 1:
            raise SystemExit(3)

    provider.before = leave
    assert isinstance(opened().run(Pay, Payment("a"), timeout_s=LONG_S), Completed)


def test_reply_after_the_timeout_is_used(opened: Opened, provider: Provider) -> None:
    """Attempts time out while the call runs; its answer is recorded and counts, and it is called once."""
    system = opened()
    provider.before = lambda call: until(lambda: system.status().retries > 3)
    assert isinstance(system.run(PayInTime, Payment("a"), timeout_s=LONG_S), Completed)
    assert len(provider.calls) == 1


def test_resolve_waits_for_the_call(opened: Opened, provider: Provider, tmp_path: Path) -> None:
    """A resolve that finds the call under way waits for what it brings; nothing is left behind."""
    release = threading.Event()
    provider.before = lambda call: release.wait(LONG_S) and None
    handle = opened().start(GiveUpSoon, Payment("a"), key="k")
    until(lambda: "step_resolving" in kinds(tmp_path))
    release.set()
    # The resolve has a timeout too: it may have given up by now, and then the step is undone.
    undoings = 0 if isinstance(handle.result(LONG_S), Completed) else 1
    assert (len(provider.calls), len(undone(tmp_path))) == (1, undoings)


def kinds(folder: Path) -> list[str]:
    """What was journalled."""
    return [kind for (kind,) in rows_of(folder / "journal.db", "select type from records order by seq")]


@BOTH
def test_undo_waits_for_the_call(opened: Opened, provider: Provider, tmp_path: Path, till: type[Till]) -> None:
    """An undo that finds the call under way lets it end, and then undoes what it did."""
    inside, release = threading.Event(), threading.Event()

    def wait(call: int) -> None:
        inside.set()
        release.wait(LONG_S)

    provider.before = wait
    system = opened(till)
    handle = system.start(Pay, Payment("a"))
    inside.wait(LONG_S)
    handle.cancel(LONG_S)
    assert not handle.done()
    release.set()
    assert handle.result(LONG_S) == Compensated(None, "cancelled by the caller")
    assert (len(provider.calls), undone(tmp_path), fence(tmp_path)) == (1, ["a"], ["undone"])


@BOTH
def test_undo_waits_for_a_call_of_an_incarnation_before(
    opened: Opened, provider: Provider, tmp_path: Path, till: type[Till]
) -> None:
    """A service that failed in the meantime waits for the same call: what it does is undone, never left behind."""
    inside, release = threading.Event(), threading.Event()

    def wait(call: int) -> None:
        inside.set()
        release.wait(LONG_S)

    provider.before = wait
    system = opened(till)
    handle = system.start(Pay, Payment("a"))
    inside.wait(LONG_S)
    system.kill("till")
    until(lambda: system.status().restarts == 1)
    handle.cancel(LONG_S)
    until(lambda: not system.status().mailboxes["till"].waiting)
    release.set()
    assert isinstance(handle.result(LONG_S), Compensated)
    assert (len(provider.charged), undone(tmp_path)) == (1, ["a"])


@BOTH
def test_killed_service_while_a_call_runs(opened: Opened, provider: Provider, till: type[Till]) -> None:
    """The answer to a call of an incarnation before is taken by the next one."""
    inside, release = threading.Event(), threading.Event()

    def wait(call: int) -> None:
        inside.set()
        release.wait(LONG_S)

    provider.before = wait
    system = opened(till)
    handle = system.start(PayInTime, Payment("a"))
    inside.wait(LONG_S)
    system.kill("till")
    until(lambda: system.status().restarts == 1)
    release.set()
    assert isinstance(handle.result(LONG_S), Completed)
    assert len(provider.charged) == 1


@BOTH
def test_repeat_after_a_crash_between_begun_and_answer(
    opened: Opened, provider: Provider, tmp_path: Path, till: type[Till]
) -> None:
    """A process that begins again finds out, or calls again with the same key; the effect is one."""
    inside, release = threading.Event(), threading.Event()

    def wait(call: int) -> None:
        if call == 1:
            inside.set()
            release.wait(LONG_S)

    provider.after = wait
    system = opened(till)
    handle = system.start(Pay, Payment("a"), key="k")
    inside.wait(LONG_S)
    system.stop()
    assert fence(tmp_path) == ["begun"]
    system = opened(till)
    assert isinstance(system.run(Pay, Payment("a"), key="k", timeout_s=LONG_S), Completed)
    release.set()
    assert provider.charged == [f"{handle.saga_id}/charge"]
    assert (len(provider.calls), len(provider.asked)) == ((1, 1) if till is CarefulTill else (2, 0))


def test_begun_and_never_arrived_is_called_after_all(opened: Opened, provider: Provider, tmp_path: Path) -> None:
    """If the provider knows nothing of the key, a repeated command is called."""
    provider.before = lambda call: 1 / 0 if call == 1 else None
    assert isinstance(opened(CarefulTill).run(Pay, Payment("a"), timeout_s=LONG_S), Completed)
    assert (len(provider.calls), len(provider.asked), len(provider.charged)) == (2, 1, 1)


def test_resolve_of_a_call_that_never_arrived(opened: Opened, provider: Provider, tmp_path: Path) -> None:
    """If the provider knows nothing of the key, a resolve leaves a tombstone and answers `never`."""
    provider.before = lambda call: Unavailable("busy")
    assert opened(CarefulTill).run(GiveUpSoon, Payment("a"), timeout_s=LONG_S) == Compensated("charge", "busy")
    assert (fence(tmp_path), provider.charged) == (["undone"], [])
