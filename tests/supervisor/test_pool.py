"""Many actors on few threads, and what becomes of the others when one of them hangs."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from amends.supervisor.actor import spawn
from amends.supervisor.mailbox import Mailbox
from amends.supervisor.runtime import SystemClock
from amends.supervisor.runtimes.pool import Pool
from tests.supervisor.conftest import MakeMailbox
from tests.supervisor.manual import ManualClock
from tests.supervisor.probe import WAIT_S, Kept, Probe, Unlisted, fail


def test_turns_are_given_by_daemons_of_that_name(mailbox: MakeMailbox, pool: Pool) -> None:
    """Never by the thread of whoever tells the actor something."""
    took = Kept()
    spawn(mailbox(on=pool), lambda: Probe([], start=lambda probe: took.tell(threading.current_thread())))
    thread = took.take()
    assert thread is not threading.current_thread()
    assert thread.name == "amends-pool"
    assert thread.daemon


def test_ten_thousand_actors_share_one_thread(mailbox: MakeMailbox, pool: Pool) -> None:
    """Each gets its turns; none gets a thread."""
    actors_n = 10_000
    before = threading.active_count()
    done = threading.Event()
    answered: list[str] = []

    def answer(probe: Probe) -> None:
        answered.append(probe.address.name)
        if len(answered) == actors_n:
            done.set()

    boxes = [mailbox(str(number), on=pool) for number in range(actors_n)]
    for box in boxes:
        spawn(box, lambda: Unlisted([]))
    for box in boxes:
        box.tell(answer)
    assert done.wait(WAIT_S)
    assert threading.active_count() <= before + 1
    assert len(set(answered)) == actors_n


@pytest.mark.usefixtures("hasty")
def test_an_actor_is_never_in_two_turns_at_once(mailbox: MakeMailbox, pool: Pool) -> None:
    """However many threads tell it something, its state needs no lock."""
    each = 1_000
    busy = threading.Lock()
    overlaps: list[bool] = []
    done = threading.Event()

    class Alone(Unlisted):
        turn_budget = 1

        def on_receive(self, message: object) -> None:
            overlaps.append(not busy.acquire(blocking=False))

        def settle(self) -> None:
            if busy.locked():
                busy.release()
            if len(overlaps) == 3 * each:
                done.set()

    box = mailbox(on=pool)
    spawn(box, lambda: Alone([]))

    def send() -> None:
        for number in range(each):
            box.tell(number)

    senders = [threading.Thread(target=send) for _ in range(3)]
    for sender in senders:
        sender.start()
    assert done.wait(WAIT_S)
    for sender in senders:
        sender.join(WAIT_S)
    assert not any(overlaps)


def test_the_pool_goes_on_when_one_of_its_turns_hangs(
    mailbox: MakeMailbox, pool: Pool, keeper: Kept, sink: Kept
) -> None:
    """Given up and replaced, the hung thread is missed by nobody, and ends as soon as it can."""
    in_hand, go = Kept(), threading.Event()

    def hang(probe: Probe) -> None:
        in_hand.tell(threading.current_thread())
        go.wait(WAIT_S)
        probe.tell(sink, "too late")

    hanging = spawn(mailbox("hanging", on=pool), lambda: Probe([]))
    other = mailbox("other", on=pool)
    spawn(other, lambda: Probe([], settle=lambda probe: sink.tell("settled")))
    assert sink.take() == "settled"
    hanging.address.tell(hang)
    hung = in_hand.take()
    other.tell("waits behind the hung one")
    assert pool.in_turn() == [hanging.address]
    assert hanging.give_up()
    assert sink.take() == "settled"
    assert keeper.take().error == "a turn that did not end"
    assert hanging.address not in pool.in_turn()
    assert hung.is_alive()
    go.set()
    hung.join(WAIT_S)
    assert not hung.is_alive()
    other.tell("and goes on")
    assert sink.take() == "settled"
    assert sink.messages == ["settled"] * 3


def test_a_replaced_thread_is_not_one_too_many(mailbox: MakeMailbox, pool: Pool) -> None:
    """However often a turn hangs, the number of threads at work stays the same."""
    in_hand, go = Kept(), threading.Event()
    before = threading.active_count()

    def hang(probe: Probe) -> None:
        in_hand.tell(threading.current_thread())
        go.wait(WAIT_S)

    box = mailbox(on=pool)
    hung = []
    for _ in range(3):
        actor = spawn(box, lambda: Unlisted([], start=hang))
        hung.append(in_hand.take())
        assert actor.give_up()
    assert threading.active_count() <= before + len(hung) + 1
    go.set()
    for thread in hung:
        thread.join(WAIT_S)
    spawn(box, lambda: Unlisted([], start=lambda probe: in_hand.tell(threading.current_thread())))
    assert in_hand.take() not in hung
    assert threading.active_count() <= before + 1


def test_an_alarm_that_is_taken_away_while_the_pool_looks_at_them_ends_nothing(
    mailbox: MakeMailbox, keeper: Kept
) -> None:
    """Mailboxes are closed by other threads, at any moment."""

    class Meddling(float):
        """A time that, when it is compared, finds a mailbox closed meanwhile."""

        def __lt__(self, other: float) -> bool:
            closed.close()
            return float(self) < other

    clock = ManualClock()
    pool = Pool(clock)
    woken = Kept()
    closed = mailbox("closed", on=pool)

    def sleep(probe: Probe) -> None:
        if probe.wakes_at_s is not None:
            probe.wakes_at_s = None
            woken.tell("woken")
            return
        probe.wakes_at_s = Meddling(1001.0)
        woken.tell("asleep")

    held = [mailbox(name, on=pool) for name in "ab"]
    for box in (closed, *held):
        spawn(box, lambda: Unlisted([], settle=sleep))
        assert woken.take() == "asleep"
    clock.at_s += 2.0
    held[0].tell("look")
    assert [woken.take(), woken.take()] == ["woken", "woken"]
    assert pool.stop(WAIT_S)
    assert keeper.messages == []


def test_stop_waits_for_the_turn_in_hand_and_says_whether_it_ended(mailbox: MakeMailbox) -> None:
    """False if it runs on; nothing behind it gets its turn."""
    pool = Pool(SystemClock())
    in_hand, go = threading.Event(), threading.Event()
    notes: list[str] = []

    def hang(probe: Probe) -> None:
        in_hand.set()
        go.wait(WAIT_S)

    spawn(mailbox(on=pool), lambda: Probe(notes, start=hang))
    assert in_hand.wait(WAIT_S)
    spawn(mailbox("behind", on=pool), lambda: Probe(notes))
    assert not pool.stop(0.0)
    go.set()
    assert pool.stop(WAIT_S)
    assert notes == ["start", "settle"]


def test_an_actor_may_stop_the_pool_it_runs_on(mailbox: MakeMailbox) -> None:
    """It does not wait for itself."""
    pool = Pool(SystemClock())
    stopped = Kept()
    spawn(mailbox(on=pool), lambda: Probe([], start=lambda probe: stopped.tell(pool.stop(WAIT_S))))
    assert stopped.take() is False
    assert pool.stop(WAIT_S)


def test_a_thread_survives_whatever_its_actors_raise(mailbox: MakeMailbox, pool: Pool, keeper: Kept) -> None:
    """All the others live on it."""
    took = Kept()

    def note(probe: Probe) -> None:
        took.tell(threading.current_thread())

    def leave(probe: Probe) -> None:
        note(probe)
        raise SystemExit

    for where in ("start", "settle"):
        spawn(mailbox(where, on=pool), lambda where=where: Probe([], **{where: leave}))  # type: ignore[misc]
    handling = mailbox("handling", on=pool)
    spawn(handling, lambda: Probe([]))
    handling.tell(leave)
    alive = mailbox("alive", on=pool)
    spawn(alive, lambda: Probe([], start=note))
    assert len({took.take() for _ in range(4)}) == 1
    assert {keeper.take().name for _ in range(3)} == {"start", "settle", "handling"}


@pytest.mark.usefixtures("hasty")
def test_the_next_incarnation_may_be_started_by_another_thread_at_any_moment(mailbox: MakeMailbox, pool: Pool) -> None:
    """As a supervisor does, as soon as it hears of the failure."""
    started, heard = Kept(), Kept()
    box = Mailbox("probe", pool, keeper=heard)
    for _ in range(200):
        spawn(box, lambda: Unlisted([], start=lambda probe: started.tell(probe.incarnation), settle=fail))
        heard.take()
    assert [started.take() for _ in range(200)] == list(range(1, 201))


ROOT = Path(__file__).parents[2]

PROGRAM = """
import threading
from amends.supervisor.actor import Actor, spawn
from amends.supervisor.mailbox import Mailbox
from amends.supervisor.runtime import SystemClock
from amends.supervisor.runtimes.pool import Pool
from amends.supervisor.runtimes.threads import Threads

working = threading.Barrier(3)

class Worker(Actor):
    wakes_at_s = 0.0

    def on_receive(self, message):
        working.wait()
        threading.Event().wait()

for runtime in (Pool(SystemClock()), Threads(SystemClock())):
    mailbox = Mailbox("worker", runtime)
    spawn(mailbox, Worker)
    mailbox.tell("never done")
working.wait()
print("end")
"""


def test_a_program_that_ends_without_stopping_ends() -> None:
    """In the middle of turns, on either kind of threads, and without a word."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, timeout=WAIT_S, check=True
    )
    assert (ended.stdout, ended.stderr) == ("end\n", "")
