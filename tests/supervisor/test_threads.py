"""A thread for each actor, for those that wait on a disk or a socket."""

import threading

from amends.supervisor.actor import spawn
from amends.supervisor.runtime import SystemClock
from amends.supervisor.runtimes.threads import Threads
from tests.supervisor.conftest import MakeMailbox
from tests.supervisor.probe import WAIT_S, Kept, Probe


def test_actors_that_wait_do_not_wait_for_each_other(mailbox: MakeMailbox, threads: Threads) -> None:
    """Each is in a turn until all of them are."""
    together = threading.Barrier(5)
    met = Kept()

    def meet(probe: Probe) -> None:
        together.wait(WAIT_S)
        met.tell(probe.address.name)

    for name in "abcde":
        spawn(mailbox(name, on=threads), lambda: Probe([], start=meet))
    assert {met.take() for _ in "abcde"} == set("abcde")


def test_all_incarnations_at_an_address_have_the_same_thread(mailbox: MakeMailbox, threads: Threads) -> None:
    """It is a daemon, and bears the name of the address; the file a disk actor opens is used by one thread only."""
    took = Kept()

    def note(probe: Probe) -> None:
        took.tell(threading.current_thread())

    box = mailbox("journal", on=threads)
    first = spawn(box, lambda: Probe([], start=note))
    box.tell(note)
    seen = [took.take(), took.take()]
    first.retire()
    spawn(box, lambda: Probe([], start=note))
    seen.append(took.take())
    assert len(set(seen)) == 1
    assert (seen[0].name, seen[0].daemon) == ("amends-journal", True)


def test_an_actor_whose_turn_hangs_gets_another_thread(
    mailbox: MakeMailbox, threads: Threads, keeper: Kept, sink: Kept
) -> None:
    """Its letters come back to the next incarnation; the hung turn's words go nowhere and its thread ends."""
    took, go = Kept(), threading.Event()

    def hang_once(probe: Probe) -> None:
        took.tell(threading.current_thread())
        if probe.incarnation == 1:
            go.wait(WAIT_S)
        probe.tell(sink, f"told by {probe.incarnation}")

    box = mailbox(on=threads)
    first = spawn(box, lambda: Probe([]))
    box.tell(hang_once)
    box.tell("behind")
    hung = took.take()
    assert threads.in_turn() == [box]
    assert first.give_up()
    assert keeper.take().incarnation == 1
    notes: list[str] = []
    spawn(box, lambda: Probe(notes))
    assert took.take() is not hung
    assert sink.take() == "told by 2"
    go.set()
    hung.join(WAIT_S)
    assert not hung.is_alive()
    assert sink.messages == ["told by 2"]
    assert "behind" in notes


def test_a_closed_address_has_no_thread(mailbox: MakeMailbox, threads: Threads) -> None:
    """Its last turn ends first."""
    took = Kept()
    box = mailbox(on=threads)
    actor = spawn(box, lambda: Probe([], start=lambda probe: took.tell(threading.current_thread())))
    thread = took.take()
    actor.retire()
    box.close()
    thread.join(WAIT_S)
    assert not thread.is_alive()
    box.close()
    mailbox("never read", on=threads).close()


def test_stop_says_whether_every_turn_ended(mailbox: MakeMailbox) -> None:
    """One that hangs does not keep the others from ending."""
    threads = Threads(SystemClock())
    took, go = Kept(), threading.Event()

    def note(probe: Probe) -> None:
        took.tell((probe.address.name, threading.current_thread()))

    def hang(probe: Probe) -> None:
        note(probe)
        go.wait(WAIT_S)

    spawn(mailbox("hanging", on=threads), lambda: Probe([], start=hang))
    spawn(mailbox("idle", on=threads), lambda: Probe([], start=note))
    seen = dict([took.take(), took.take()])
    assert not threads.stop(0.0)
    seen["idle"].join(WAIT_S)
    assert not seen["idle"].is_alive()
    assert seen["hanging"].is_alive()
    go.set()
    assert threads.stop(WAIT_S)
