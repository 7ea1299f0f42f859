"""Threads that share a baton take turns; those that wait for the disk, or for too long, keep nobody waiting."""

import threading
from collections.abc import Iterator

import pytest

from amends.supervisor import baton as batons
from amends.supervisor.actor import spawn
from amends.supervisor.baton import Baton, without
from amends.supervisor.runtime import SystemClock
from amends.supervisor.runtimes.threads import Threads
from tests.supervisor.conftest import MakeMailbox
from tests.supervisor.probe import WAIT_S, Kept, Probe


@pytest.fixture
def together(mailbox: MakeMailbox) -> Iterator[Threads]:
    """Real threads with one baton, which have to end with the test."""
    threads = Threads(SystemClock(), Baton())
    yield threads
    assert threads.stop(WAIT_S)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, nobody takes the baton from anybody."""
    monkeypatch.setattr(batons, "PATIENCE_S", WAIT_S)


@pytest.mark.usefixtures("hasty", "patient")
def test_turns_of_several_threads_do_not_overlap(mailbox: MakeMailbox, together: Threads) -> None:
    """Though their threads are interrupted as often as can be."""
    each = 300
    in_turn = threading.Lock()
    overlaps: list[bool] = []
    done = Kept()

    def turn(probe: Probe) -> None:
        overlaps.append(not in_turn.acquire(blocking=False))
        for _ in range(100):
            pass
        in_turn.release()
        if len(overlaps) == 3 * each:
            done.tell("done")

    boxes = [mailbox(name, on=together) for name in "abc"]
    for box in boxes:
        spawn(box, lambda: Probe([]))
    for _ in range(each):
        for box in boxes:
            box.tell(turn)
    assert done.take() == "done"
    assert not any(overlaps)


@pytest.mark.usefixtures("patient")
def test_those_who_wait_for_the_disk_let_others_run(mailbox: MakeMailbox, together: Threads) -> None:
    """All of them wait there at once."""
    at_once = threading.Barrier(3)
    met = Kept()

    def write(probe: Probe) -> None:
        without(at_once.wait, WAIT_S)
        met.tell(probe.address.name)

    for name in "abc":
        spawn(mailbox(name, on=together), lambda: Probe([], settle=write))
    assert {met.take() for _ in "abc"} == set("abc")


@pytest.mark.usefixtures("patient")
def test_a_wait_that_fails_has_the_baton_again_all_the_same(mailbox: MakeMailbox, together: Threads) -> None:
    """What its turn does about the error overlaps with nobody's."""
    order = Kept()
    go = threading.Event()

    def refuse() -> None:
        go.wait(WAIT_S)
        raise OSError("no space left")

    def write(probe: Probe) -> None:
        with pytest.raises(OSError, match="no space left"):
            without(refuse)
        order.tell("after the error")

    def other(probe: Probe) -> None:
        order.tell("other begins")
        go.set()
        for _ in range(10_000):
            pass
        order.tell("other ends")

    spawn(mailbox("first", on=together), lambda: Probe([], settle=write))
    spawn(mailbox("other", on=together), lambda: Probe([], start=other))
    told = [order.take() for _ in range(3)]
    assert told.index("other ends") == told.index("other begins") + 1


def test_a_turn_that_takes_long_keeps_nobody_waiting(
    mailbox: MakeMailbox, together: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on beside the others until it ends, and then it has to wait for them like everybody."""
    monkeypatch.setattr(batons, "PATIENCE_S", 0.001)
    asleep, awake = threading.Event(), threading.Event()
    woke = Kept()

    def sleep(probe: Probe) -> None:
        asleep.set()
        assert awake.wait(WAIT_S)
        woke.tell("woken by another turn")

    spawn(mailbox("sleeper", on=together), lambda: Probe([], start=sleep))
    assert asleep.wait(WAIT_S)
    spawn(mailbox("other", on=together), lambda: Probe([], start=lambda probe: awake.set()))
    assert woke.take() == "woken by another turn"


@pytest.mark.usefixtures("hasty")
def test_threads_that_keep_taking_it_from_each_other_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """One may be passed it and lose it again before it has noticed."""
    monkeypatch.setattr(batons, "PATIENCE_S", 0.0)
    baton = Baton()
    ends = Kept()

    def take_and_drop() -> None:
        try:
            for _ in range(2_000):
                baton.take()
                baton.drop()
        except BaseException as error:  # noqa: BLE001 - it is told below
            ends.tell(repr(error))
        else:
            ends.tell("well")

    threads = [threading.Thread(target=take_and_drop) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert ends.messages == ["well"] * len(threads)


def test_a_thread_without_a_baton_just_waits() -> None:
    """As in a test, or under the simulated runtime."""
    assert without(max, 1, 2) == 2
