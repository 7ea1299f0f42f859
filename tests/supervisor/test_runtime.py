"""The port to time and turns: what every runtime does, and the clock of a running program."""

import itertools
import threading
import uuid
from collections.abc import Iterator

import pytest

from amends.supervisor.actor import spawn
from amends.supervisor.mailbox import Mailbox
from amends.supervisor.runtime import Clock, Runtime, SystemClock
from amends.supervisor.runtimes.pool import Pool
from amends.supervisor.runtimes.threads import Threads
from tests.supervisor.conftest import MakeMailbox
from tests.supervisor.manual import ManualClock, ManualRuntime
from tests.supervisor.probe import WAIT_S, Probe, fail

# Every runtime.


class Ran:
    """A runtime on a clock that only the test moves, real threads or not."""

    def __init__(self, kind: str) -> None:
        self._clock = ManualClock()
        self._manual: ManualRuntime | None = None
        self.runtime: Runtime
        if kind == "manual":
            self.runtime = self._manual = ManualRuntime(self._clock)
        else:
            self.runtime = Pool(self._clock) if kind == "pool" else Threads(self._clock)

    def until(self, event: threading.Event) -> None:
        """Let turns be given until `event` is set."""
        if self._manual is not None:
            self._manual.run_until_idle()
        assert event.wait(WAIT_S if self._manual is None else 0)

    def after(self, seconds: float, event: threading.Event) -> None:
        """Let that much time pass, and `event` be set by it."""
        if self._manual is not None:
            self._manual.advance(seconds)
        else:
            self._clock.at_s += seconds
        self.until(event)


@pytest.fixture(params=["manual", "pool", "threads"])
def ran(request: pytest.FixtureRequest, mailbox: MakeMailbox) -> Iterator[Ran]:
    """Each runtime in turn."""
    ran = Ran(request.param)
    yield ran
    assert ran.runtime.stop(WAIT_S)


def test_a_turn_is_given_to_whoever_is_ready(ran: Ran, mailbox: MakeMailbox) -> None:
    """The first without a message, the others for what came."""
    settled = [threading.Event(), threading.Event()]
    box = mailbox(on=ran.runtime)
    turns = iter(settled)
    spawn(box, lambda: Probe([], settle=lambda probe: next(turns).set()))
    ran.until(settled[0])
    box.tell("hello")
    ran.until(settled[1])


def test_an_actor_is_woken_when_it_wants_to_be(ran: Ran, mailbox: MakeMailbox) -> None:
    """Without a message, once, and not before that time."""
    asleep, woken = threading.Event(), threading.Event()
    turns_s: list[float] = []

    def settle(probe: Probe) -> None:
        turns_s.append(probe.clock.now_s())
        probe.wakes_at_s = None if asleep.is_set() else turns_s[0] + 0.05
        (woken if asleep.is_set() else asleep).set()

    spawn(mailbox(on=ran.runtime), lambda: Probe([], settle=settle))
    ran.until(asleep)
    ran.after(0.05, woken)
    assert len(turns_s) == 2
    assert turns_s[1] >= turns_s[0] + 0.05


@pytest.mark.parametrize("ran", ["manual", "pool"], indirect=True)
def test_alarms_go_off_in_the_order_of_their_times(ran: Ran, mailbox: MakeMailbox) -> None:
    """Whoever asked first may be woken last."""
    asleep, all_woken = threading.Event(), threading.Event()
    woken: list[str] = []

    def make(name: str, delay_s: float) -> Probe:
        def settle(probe: Probe) -> None:
            if probe.wakes_at_s is None:
                probe.wakes_at_s = probe.clock.now_s() + delay_s
                if name == "between":
                    asleep.set()
                return
            probe.wakes_at_s = None
            woken.append(name)
            if len(woken) == 3:
                all_woken.set()

        return Probe([], settle=settle)

    for name, delay_s in (("late", 0.15), ("early", 0.05), ("between", 0.1)):
        spawn(mailbox(name, on=ran.runtime), lambda name=name, delay_s=delay_s: make(name, delay_s))  # type: ignore[misc]
    ran.until(asleep)
    ran.after(1.0, all_woken)
    assert woken == ["early", "between", "late"]


def test_a_failing_actor_does_not_keep_others_from_their_turns(ran: Ran, mailbox: MakeMailbox) -> None:
    """Nor its own next incarnation."""
    ok = [threading.Event(), threading.Event()]
    box = mailbox(on=ran.runtime)
    spawn(box, lambda: Probe([], start=fail))
    spawn(mailbox("other", on=ran.runtime), lambda: Probe([], settle=lambda probe: ok[0].set()))
    ran.until(ok[0])
    spawn(box, lambda: Probe([], settle=lambda probe: ok[1].set()))
    ran.until(ok[1])


def test_a_call_that_waits_on_the_world_is_made(ran: Ran) -> None:
    """Beside all turns."""
    made = threading.Event()
    ran.runtime.outside(made.set)
    assert made.wait(WAIT_S)


def test_a_runtime_tells_who_is_in_a_turn(ran: Ran, mailbox: MakeMailbox) -> None:
    """For whoever looks for turns that do not end; nobody is, between turns."""
    seen: list[list[Mailbox]] = []
    done = threading.Event()

    def look(probe: Probe) -> None:
        seen.append(ran.runtime.in_turn())
        done.set()

    box = mailbox(on=ran.runtime)
    spawn(box, lambda: Probe([], start=look))
    ran.until(done)
    assert seen == [[box]]
    assert ran.runtime.stop(WAIT_S)
    assert ran.runtime.in_turn() == []


def test_a_stopped_runtime_gives_no_turn(ran: Ran, mailbox: MakeMailbox) -> None:
    """Neither to those it knows nor to new ones; what they are told waits."""
    started = threading.Event()
    notes: list[str] = []
    known, fresh = mailbox("known", on=ran.runtime), mailbox("fresh", on=ran.runtime)
    spawn(known, lambda: Probe(notes, settle=lambda probe: started.set()))
    ran.until(started)
    assert ran.runtime.stop(WAIT_S)
    before = threading.active_count()
    known.tell("late")
    spawn(fresh, lambda: Probe(notes))
    assert ran.runtime.stop(WAIT_S)
    assert threading.active_count() == before
    assert notes == ["start", "settle"]
    assert len(known) == 1


# The clock of a running program.


def test_the_system_clock_is_a_clock() -> None:
    """Monotonic time, wall time and chance are the operating system's."""
    clock: Clock = SystemClock()
    assert clock.now_s() <= clock.now_s()
    assert clock.now_at() > 1_700_000_000
    assert 0.0 <= clock.chance() < 1.0


def test_ids_are_version_7_uuids(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the time in front, so that they sort by it in any database."""
    monkeypatch.setattr("time.time", lambda: 1_700_000_000.5)
    found = uuid.UUID(SystemClock().new_id())
    assert (found.version, found.variant) == (7, uuid.RFC_4122)
    assert found.int >> 80 == 1_700_000_000_500


def test_ids_increase_strictly() -> None:
    """Far more of them than there are milliseconds."""
    clock = SystemClock()
    ids = [clock.new_id() for _ in range(20_000)]
    assert all(a < b for a, b in itertools.pairwise(ids))
    assert {(len(i), uuid.UUID(i).version, uuid.UUID(i).variant) for i in ids} == {(32, 7, uuid.RFC_4122)}


def test_ids_increase_strictly_while_the_wall_clock_stands_still_or_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is set back must not make an id that sorts before an older one."""
    times = iter([*[1_700_000_000.0] * 1000, *[1_600_000_000.0] * 1000, *[1_700_000_000.001] * 1000])
    monkeypatch.setattr("time.time", lambda: next(times))
    clock = SystemClock()
    ids = [clock.new_id() for _ in range(3000)]
    assert all(a < b for a, b in itertools.pairwise(ids))
    assert {uuid.UUID(i).version for i in ids} == {7}


def test_ids_are_made_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads that looked at the same last id would make the same next one."""
    clock = SystemClock()
    held: list[bool] = []

    def getrandbits(bits: int) -> int:
        held.append(clock._ids.locked())
        return 0

    monkeypatch.setattr("random.getrandbits", getrandbits)
    clock.new_id()
    assert held == [True]


@pytest.mark.usefixtures("hasty")
def test_ids_differ_between_threads() -> None:
    """Each thread sees its own increase, and no two see the same."""
    clock = SystemClock()
    by_thread: list[list[str]] = [[] for _ in range(4)]
    go = threading.Barrier(4)

    def make(ids: list[str]) -> None:
        go.wait(WAIT_S)
        ids.extend(clock.new_id() for _ in range(2_000))

    makers = [threading.Thread(target=make, args=(ids,)) for ids in by_thread]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join(WAIT_S)
    for ids in by_thread:
        assert ids == sorted(ids)
    assert len({i for ids in by_thread for i in ids}) == 8_000
