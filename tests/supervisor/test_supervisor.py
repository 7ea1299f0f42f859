"""A supervisor keeps its children alive, as often as it is allowed to, and never two of one."""

import threading
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import pytest

from amends.supervisor.actor import Actor, Exited, Failed, Kill, spawn
from amends.supervisor.child import ChildSpec, SpecError
from amends.supervisor.intensity import RestartWindow
from amends.supervisor.mailbox import Mailbox
from amends.supervisor.runtime import Runtime
from amends.supervisor.runtimes.pool import Pool
from amends.supervisor.runtimes.threads import Threads
from amends.supervisor.strategy import Restart, Strategy
from amends.supervisor.supervisor import (
    BACKOFF_BASE_S,
    BACKOFF_CAP_S,
    LOOK_EVERY_S,
    TURN_LIMIT_S,
    RestartsExceeded,
    Supervisor,
)
from amends.supervisor.telemetry import Counters
from tests.supervisor.manual import ManualClock, ManualRuntime
from tests.supervisor.probe import WAIT_S, Hook, Kept, Once, Probe, exit_, fail

OFTEN = RestartWindow(intensity=1000, period_s=1.0)
"""So many restarts are allowed that none is too many."""


class Child(Probe):
    """A probe whose notes say who it is: "a2 start" is the second incarnation of a."""

    def label(self, what: str) -> str:
        return f"{self.address.name}{self.incarnation} {what}"


class Tree:
    """A supervisor, its children, and what they did.

    Attributes:
        notes: of all children, in order.
        started_s: when each child was started, by its name.
        doubles: incarnations that were started while another one of the same child lived.
        root: the supervisor's address; its keeper is `keeper`.
        dead: where the children's dead letters go.
    """

    def __init__(self, runtime: ManualRuntime) -> None:
        self.runtime = runtime
        self.notes: list[str] = []
        self.started_s: dict[str, list[float]] = {}
        self.doubles: list[str] = []
        self.counters = Counters()
        self.keeper, self.dead = Kept("keeper"), Kept("dead-letters")
        self.root = Mailbox("root", runtime, keeper=self.keeper)
        self.boxes: dict[str, Mailbox] = {}
        self._alive: dict[str, Actor] = {}

    def child(
        self,
        name: str,
        restart: Restart = Restart.PERMANENT,
        turn_limit_s: float | None = None,
        hooks: Mapping[str, Hook] = MappingProxyType({}),
    ) -> ChildSpec:
        """A child that does at "start" and so on what the hooks say."""
        box = self.boxes[name] = Mailbox(name, self.runtime, dead=self.dead)

        def make() -> Actor:
            return Child(self.notes, **{**hooks, "start": self._starting(hooks.get("start"))})

        return ChildSpec(box, make, restart, turn_limit_s)

    def start(
        self,
        *specs: ChildSpec,
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        window: RestartWindow = OFTEN,
        others: tuple[Runtime, ...] = (),
    ) -> Actor:
        """Start the supervisor, and let everything come to rest."""
        root = spawn(
            self.root,
            lambda: Supervisor(specs, strategy=strategy, window=window, counters=self.counters, others=others),
        )
        self.runtime.run_until_idle()
        return root

    def tell(self, name: str, *messages: object) -> None:
        """Tell a child something, and let everything that follows at once happen."""
        for message in messages:
            self.boxes[name].tell(message)
        self.runtime.run_until_idle()

    def drain_notes(self) -> list[str]:
        """The notes since the last look, without those on settling."""
        notes = [note for note in self.notes if not note.endswith("settle")]
        self.notes.clear()
        return notes

    @property
    def alive(self) -> list[str]:
        """The children that read their mailboxes now, and which incarnation of each."""
        return [f"{name}{box.incarnation}" for name, box in self.boxes.items() if box.actor is not None]

    def _starting(self, hook: Hook | None) -> Hook:
        def starting(probe: Probe) -> None:
            name = probe.address.name
            before = self._alive.get(name)
            if before is not None and not before.actor_stopped.is_set():
                self.doubles.append(f"{name}{probe.incarnation}")
            self._alive[name] = probe
            self.started_s.setdefault(name, []).append(probe.clock.now_s())
            if hook is not None:
                hook(probe)

        return starting


@pytest.fixture
def tree(runtime: ManualRuntime) -> Iterator[Tree]:
    """A supervisor that is not started yet; whatever a test does to it, no child ever lives twice."""
    tree = Tree(runtime)
    yield tree
    for box in (tree.root, *tree.boxes.values()):
        if box.actor is not None:
            box.actor.retire()
    assert tree.doubles == []


# Starting.


def test_children_start_in_order_and_report_to_their_supervisor(tree: Tree) -> None:
    """In the order of their specs."""
    root = tree.start(tree.child("a"), tree.child("b"), tree.child("c"))
    assert tree.drain_notes() == ["a1 start", "b1 start", "c1 start"]
    assert {box.keeper for box in tree.boxes.values()} == {root.address}


def test_specs_are_checked_before_anything_starts(tree: Tree) -> None:
    """Whoever wrote them hears of it."""
    with pytest.raises(SpecError, match="two children are named 'a'"):
        tree.start(tree.child("a"), tree.child("a"))
    assert tree.drain_notes() == []


def test_a_child_that_lives_already_is_kept(tree: Tree) -> None:
    """There are never two incarnations of one."""
    spec = tree.child("a")
    spawn(spec.mailbox, spec.factory)
    tree.start(spec)
    assert tree.drain_notes() == ["a1 start"]
    tree.tell("a", Kill())
    assert tree.alive == ["a2"]


# Who restarts.


def test_a_failed_child_keeps_its_address_and_its_letters(tree: Tree) -> None:
    """The next incarnation handles them, and those that came meanwhile."""
    tree.start(tree.child("a"))
    tree.drain_notes()
    tree.tell("a", "before", Once(fail), "behind")
    assert tree.drain_notes() == ["a1 before", "a1 let go", "a2 start", "a2 before", "a2 behind"]
    assert tree.counters.restarts == 1


def test_one_for_one_restarts_the_failed_child_only(tree: Tree) -> None:
    """The others notice nothing."""
    tree.start(*map(tree.child, "abc"), strategy=Strategy.ONE_FOR_ONE)
    tree.drain_notes()
    tree.tell("b", Kill())
    assert tree.drain_notes() == ["b1 let go", "b2 start"]


def test_rest_for_one_restarts_the_failed_child_and_those_after_it(tree: Tree) -> None:
    """They end in the reverse order of their start, and before the first one starts again."""
    tree.start(*map(tree.child, "abcd"), strategy=Strategy.REST_FOR_ONE)
    tree.drain_notes()
    tree.tell("b", Kill())
    assert tree.drain_notes() == ["b1 let go", "d1 let go", "c1 let go", "b2 start", "c2 start", "d2 start"]
    assert tree.counters.restarts == 3


def test_one_for_all_restarts_every_child(tree: Tree) -> None:
    """In the same orders."""
    tree.start(*map(tree.child, "abc"), strategy=Strategy.ONE_FOR_ALL)
    tree.drain_notes()
    tree.tell("b", Kill())
    assert tree.drain_notes() == ["b1 let go", "c1 let go", "a1 let go", "a2 start", "b2 start", "c2 start"]


def test_siblings_that_restart_too_keep_their_letters(tree: Tree) -> None:
    """What they had not read is read by their next incarnations."""
    tree.start(*map(tree.child, "ab"), strategy=Strategy.ONE_FOR_ALL)
    tree.drain_notes()
    tree.boxes["a"].tell(Kill())
    tree.runtime.run_turn()
    tree.tell("b", "x", "y")
    assert [note for note in tree.drain_notes() if note[0] == "b"] == ["b1 let go", "b2 start", "b2 x", "b2 y"]


@pytest.mark.parametrize(
    ("restart", "after_a_failure", "after_an_exit"),
    [
        (Restart.PERMANENT, ["a2"], ["a2"]),
        (Restart.TRANSIENT, ["a2"], []),
        (Restart.TEMPORARY, [], []),
    ],
)
@pytest.mark.parametrize("failing", [True, False])
def test_the_restart_type_says_whether_a_child_comes_back(
    tree: Tree, restart: Restart, after_a_failure: list[str], after_an_exit: list[str], failing: bool
) -> None:
    """Now, and however long one waits; whoever stays away is not missed."""
    tree.start(tree.child("a", restart))
    tree.tell("a", Kill() if failing else Probe.stop)
    tree.runtime.advance(10 * LOOK_EVERY_S)
    assert tree.alive == (after_a_failure if failing else after_an_exit)
    assert tree.keeper.messages == []


def test_a_child_that_ended_for_good_does_not_restart_with_its_siblings(tree: Tree) -> None:
    """Its work is done."""
    tree.start(tree.child("a", Restart.TRANSIENT), tree.child("b"), strategy=Strategy.ONE_FOR_ALL)
    tree.tell("a", Probe.stop)
    tree.drain_notes()
    tree.tell("b", Kill())
    tree.runtime.advance(10.0)
    assert tree.drain_notes() == ["b1 let go", "b2 start"]


def test_a_temporary_child_that_ends_with_its_siblings_does_not_come_back(tree: Tree) -> None:
    """Temporary is never, whoever failed.

    Source: OTP `supervisor`, on temporary children under rest_for_one and one_for_all.
    """
    tree.start(tree.child("a"), tree.child("b", Restart.TEMPORARY), strategy=Strategy.REST_FOR_ONE)
    tree.drain_notes()
    tree.tell("a", Kill())
    tree.runtime.advance(10.0)
    assert tree.drain_notes() == ["a1 let go", "b1 let go", "a2 start"]


def test_siblings_restart_in_order_even_if_one_of_them_was_waiting_already(tree: Tree) -> None:
    """A child never starts before one it builds upon."""
    tree.start(*map(tree.child, "abc"), strategy=Strategy.REST_FOR_ONE)
    tree.tell("c", Kill())
    tree.tell("c", Kill())
    assert tree.alive == ["a1", "b1"]
    tree.drain_notes()
    tree.tell("a", Kill())
    tree.runtime.advance(10.0)
    assert tree.drain_notes() == ["a1 let go", "b1 let go", "a2 start", "b2 start", "c3 start"]


# When, and how often.


def test_restarts_are_spaced_further_and_further_apart(tree: Tree) -> None:
    """The first comes at once; then the wait doubles up to a cap."""
    tree.start(tree.child("a", hooks={"start": fail}), window=RestartWindow(12, 1000.0))
    tree.runtime.advance(60.0)
    waits_s = [b - a for a, b in pairwise(tree.started_s["a"])]
    wanted_s = [0.0, *(min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2**n) for n in range(11))]
    assert waits_s == pytest.approx(wanted_s)
    assert waits_s[-1] == pytest.approx(BACKOFF_CAP_S)


def test_the_wait_of_a_child_counts_its_own_restarts(tree: Tree) -> None:
    """One that fails for the first time comes back at once, however often its siblings have."""
    tree.start(tree.child("a"), tree.child("b"), window=RestartWindow(12, 1000.0))
    for _ in range(4):
        tree.tell("a", Kill())
        tree.runtime.advance(10.0)
    tree.tell("b", Kill())
    assert tree.alive == ["a5", "b2"]


def test_too_many_restarts_are_the_supervisors_own_failure(tree: Tree) -> None:
    """Its keeper is told, its children end, and nobody is restarted any more."""
    tree.start(tree.child("good"), tree.child("bad", hooks={"start": fail}), window=RestartWindow(3, 1000.0))
    tree.runtime.advance(60.0)
    assert tree.keeper.reports == [("root", 1, "RestartsExceeded")]
    assert len(tree.started_s["bad"]) == 1 + 3
    assert len(tree.started_s["good"]) == 1
    assert tree.alive == []
    assert tree.counters.restarts == 3
    assert issubclass(RestartsExceeded, Exception)


def test_failures_of_all_children_count_together(tree: Tree) -> None:
    """The intensity is the supervisor's."""
    tree.start(tree.child("a"), tree.child("b"), window=RestartWindow(2, 1000.0))
    for name in "aba":
        tree.tell(name, Kill())
        tree.runtime.advance(5.0)
    assert tree.keeper.reports == [("root", 1, "RestartsExceeded")]


def test_a_restart_of_several_siblings_counts_once(tree: Tree) -> None:
    """It is failures that are counted."""
    tree.start(*map(tree.child, "abcd"), strategy=Strategy.ONE_FOR_ALL, window=RestartWindow(1, 1000.0))
    tree.tell("a", Kill())
    assert tree.keeper.messages == []
    assert tree.alive == ["a2", "b2", "c2", "d2"]


def test_failures_far_enough_apart_are_never_too_many(tree: Tree) -> None:
    """The period slides, and the wait begins anew."""
    tree.start(tree.child("a"), window=RestartWindow(2, 10.0))
    for _ in range(20):
        tree.tell("a", Kill())
        tree.runtime.advance(5.1)
    assert tree.keeper.messages == []
    assert tree.alive == ["a21"]


def test_an_exit_of_a_permanent_child_counts_as_a_restart(tree: Tree) -> None:
    """A child that keeps stopping is as bad as one that keeps failing."""
    tree.start(tree.child("a", hooks={"start": Probe.stop}), window=RestartWindow(3, 1000.0))
    tree.runtime.advance(60.0)
    assert tree.keeper.reports == [("root", 1, "RestartsExceeded")]


def test_a_supervisor_that_gave_up_is_restarted_by_its_own(tree: Tree, runtime: ManualRuntime) -> None:
    """Escalation ends at a level that can mend it: the next incarnation begins with all its children."""
    branch = Mailbox("branch", runtime)
    leaves = [tree.child("a"), tree.child("b")]
    window = RestartWindow(1, 1000.0)

    def make() -> Supervisor:
        return Supervisor(leaves, strategy=Strategy.ONE_FOR_ONE, window=window, counters=tree.counters)

    tree.start(ChildSpec(branch, make))
    tree.tell("a", Kill())
    tree.drain_notes()
    tree.tell("a", Kill())
    assert branch.incarnation == 2
    assert tree.drain_notes() == ["a2 let go", "b1 let go", "a3 start", "b2 start"]
    runtime.advance(10.0)
    assert tree.alive == ["a3", "b2"]
    assert tree.keeper.messages == []


# What a failure is.


@pytest.mark.parametrize("how", [fail, exit_])
@pytest.mark.parametrize("where", ["start", "settle", "stop", "a message", "the constructor"])
def test_a_child_that_fails_anywhere_is_restarted(tree: Tree, where: str, how: Hook) -> None:
    """With an error or with what is none."""
    once = Once(how)
    spec = tree.child("a", hooks={where: once})

    def make() -> Actor:
        if where == "the constructor":
            once(None)  # type: ignore[arg-type]
        return spec.factory()

    tree.start(ChildSpec(spec.mailbox, make))
    tree.tell("a", once if where == "a message" else Probe.stop if where == "stop" else "hello")
    tree.runtime.advance(1.0)
    assert tree.alive == ["a2"]
    assert tree.counters.restarts == 1
    assert tree.keeper.messages == []


def test_a_child_that_can_never_be_made_is_too_many_restarts(tree: Tree) -> None:
    """It does not make its supervisor spin."""

    def never() -> Actor:
        raise ValueError("no")

    spec = tree.child("a")
    tree.start(ChildSpec(spec.mailbox, never), window=RestartWindow(4, 1000.0))
    tree.runtime.advance(60.0)
    assert tree.keeper.reports == [("root", 1, "RestartsExceeded")]


def test_a_child_that_died_without_a_report_is_found_and_restarted(tree: Tree) -> None:
    """Whoever ended it told nobody; the supervisor looks by itself."""
    tree.start(tree.child("a"), tree.child("b"))
    tree.tell("a", "hello")
    actor = tree.boxes["a"].actor
    assert actor is not None
    actor.retire()
    tree.boxes["a"].tell("while nobody reads")
    tree.drain_notes()
    tree.runtime.advance(3 * LOOK_EVERY_S)
    assert tree.drain_notes() == ["a2 start", "a2 while nobody reads"]
    assert tree.counters.restarts == 1


def test_a_child_whose_report_is_on_its_way_is_not_missed(tree: Tree) -> None:
    """Missing at one look only; the report tells more than a supervisor sees."""
    tree.start(tree.child("a"))
    actor = tree.boxes["a"].actor
    assert actor is not None
    actor.retire()
    tree.root.tell("anything, for a turn")
    tree.runtime.advance(0.0)
    assert tree.alive == []
    tree.root.tell(Failed("a", 1, "ValueError", ""))
    tree.runtime.run_until_idle()
    assert tree.alive == ["a2"]
    tree.runtime.advance(10.0)
    assert tree.counters.restarts == 1


# Reports out of date.


@pytest.mark.parametrize("report", [Failed("a", 1, "ValueError", ""), Exited("a", 1)])
def test_a_report_of_an_older_incarnation_starts_nothing(tree: Tree, report: object) -> None:
    """It says nothing about the one alive."""
    tree.start(tree.child("a"))
    tree.tell("a", Kill())
    assert tree.alive == ["a2"]
    tree.drain_notes()
    tree.root.tell(report)
    tree.runtime.advance(10.0)
    assert tree.drain_notes() == []
    assert tree.counters.restarts == 1


def test_a_second_report_while_a_child_waits_for_its_restart_counts_nothing(tree: Tree) -> None:
    """One death, one restart."""
    tree.start(tree.child("a"), window=RestartWindow(2, 1000.0))
    tree.tell("a", Kill())
    tree.tell("a", Kill())
    assert tree.alive == []
    for _ in range(5):
        tree.root.tell(Failed("a", 2, "ValueError", ""))
    tree.runtime.advance(10.0)
    assert tree.alive == ["a3"]
    assert tree.counters.restarts == 2


def test_a_report_of_somebody_unknown_is_ignored(tree: Tree) -> None:
    """An address may have had another keeper."""
    tree.start(tree.child("a"))
    tree.root.tell(Failed("stranger", 1, "ValueError", ""))
    tree.root.tell(Exited("stranger", 1))
    tree.runtime.advance(10.0)
    assert tree.alive == ["a1"]
    assert tree.keeper.messages == []


# Turns that do not end.


def hang_for(tree: Tree, seconds: float) -> Hook:
    """A message that keeps its reader for that long, the first time, while everybody else goes on."""
    return Once(lambda probe: tree.runtime.advance(seconds))


def test_a_child_with_a_message_in_hand_beyond_its_limit_is_given_up(tree: Tree, sink: Kept) -> None:
    """Its letters come back to the next incarnation, its thread is replaced, its words go nowhere."""
    seen: list[list[str]] = []

    def hang(probe: Probe) -> None:
        probe.tell(sink, f"told before, by {probe.incarnation}")
        hanging(probe)
        seen.append(tree.alive)
        probe.tell(sink, f"told after, by {probe.incarnation}")

    hanging = hang_for(tree, 5.0 + 2 * LOOK_EVERY_S)
    tree.start(tree.child("a", turn_limit_s=5.0), tree.child("b"))
    tree.drain_notes()
    tree.tell("a", "before", hang, "behind")
    assert tree.drain_notes() == ["a1 before", "a1 let go, hung", "a2 start", "a2 before", "a2 behind"]
    assert sink.messages == ["told before, by 2", "told after, by 2"]
    assert seen == [["a2", "b1"], ["a2", "b1"]]
    assert tree.runtime.replaced == [tree.boxes["a"]]
    assert tree.counters.stuck_turns == 1
    assert tree.counters.restarts == 1


def test_a_child_within_its_limit_is_left_alone(tree: Tree) -> None:
    """Slow is not hung."""
    tree.start(tree.child("a", turn_limit_s=5.0))
    tree.tell("a", hang_for(tree, 4.9))
    assert tree.alive == ["a1"]
    assert tree.counters.stuck_turns == 0


def test_the_limit_is_for_each_message_and_not_for_the_turn(tree: Tree) -> None:
    """A turn may take many messages, all of them within the limit."""
    tree.start(tree.child("a", turn_limit_s=5.0))
    tree.tell("a", *(hang_for(tree, 3.0) for _ in range(3)))
    assert tree.alive == ["a1"]
    assert tree.runtime.replaced == []


@pytest.mark.parametrize("where", ["start", "settle", "stop"])
def test_starting_settling_and_stopping_have_the_same_limit(tree: Tree, where: str) -> None:
    """A commit may hang as well as a handler."""
    spec = tree.child("a", turn_limit_s=5.0, hooks={where: hang_for(tree, 6.0)})
    tree.start(spec)
    tree.tell("a", Probe.stop if where == "stop" else "hello")
    assert tree.runtime.replaced == [tree.boxes["a"]]
    tree.runtime.advance(1.0)
    assert tree.alive == ["a2"]
    assert tree.counters.stuck_turns == 1


def test_a_child_without_a_limit_may_take_for_ever(tree: Tree) -> None:
    """None is for ever."""
    tree.start(tree.child("a"))
    tree.tell("a", hang_for(tree, 100 * TURN_LIMIT_S))
    assert tree.alive == ["a1"]


def test_a_message_that_hangs_three_incarnations_becomes_a_dead_letter(tree: Tree) -> None:
    """Those behind it are handled."""

    def hang(probe: Probe) -> None:
        tree.runtime.advance(6.0)

    tree.start(tree.child("a", turn_limit_s=5.0))
    tree.tell("a", hang, "behind")
    tree.runtime.advance(60.0)
    assert [letter.message for letter in tree.dead.messages] == [hang]
    assert tree.drain_notes()[-1] == "a4 behind"


def test_turns_on_other_runtimes_are_watched_for_actors_that_have_another_keeper(tree: Tree, sink: Kept) -> None:
    """They get the general limit; what follows is their keeper's business."""
    other = ManualRuntime(tree.runtime.time)
    stranger = Mailbox("stranger", other, keeper=sink)
    spawn(stranger, lambda: Probe([]))
    other.run_until_idle()
    tree.start(tree.child("a"), others=(other,))
    stranger.tell(hang_for(tree, TURN_LIMIT_S - 1.0))
    other.run_until_idle()
    assert sink.messages == []
    stranger.tell(hang_for(tree, TURN_LIMIT_S + 1.0))
    other.run_until_idle()
    assert sink.reports == [("stranger", 1, "a turn that did not end")]
    assert other.replaced == [stranger]
    assert tree.counters.stuck_turns == 1
    assert tree.counters.restarts == 0


def test_a_child_that_hangs_on_a_thread_of_its_own_is_replaced(keeper: Kept, dead: Kept, sink: Kept) -> None:
    """The whole of it, on real threads: the supervisor's thread is not the one that hangs."""
    clock = ManualClock()
    watch, threads = Pool(clock, "amends-supervisors"), Threads(clock)
    in_hand, go = Kept(), threading.Event()
    counters = Counters()

    def hang_once(probe: Probe) -> None:
        in_hand.tell((probe.incarnation, threading.current_thread()))
        if probe.incarnation == 1:
            go.wait(WAIT_S)
        probe.tell(sink, f"told by {probe.incarnation}")

    root, box = Mailbox("root", watch, keeper=keeper), Mailbox("child", threads, dead=dead)
    spec = ChildSpec(box, lambda: Probe([]), turn_limit_s=5.0)
    spawn(root, lambda: Supervisor([spec], strategy=Strategy.ONE_FOR_ONE, window=OFTEN, counters=counters))
    box.tell(hang_once)
    first, hung = in_hand.take()
    clock.at_s += 6.0
    second, replacing = in_hand.take()
    assert (first, second) == (1, 2)
    assert replacing is not hung
    assert sink.take() == "told by 2"
    go.set()
    hung.join(WAIT_S)
    assert not hung.is_alive()
    assert sink.messages == ["told by 2"]
    assert (counters.stuck_turns, counters.restarts) == (1, 1)
    for runtime in (watch, threads):
        assert runtime.stop(WAIT_S)
    assert root.actor is not None
    root.actor.retire()
    assert box.actor is None
    assert keeper.messages == []
    assert dead.messages == []


# The supervisor's own end.


def test_a_supervisor_that_is_stopped_ends_its_children_last_one_first(tree: Tree) -> None:
    """And says so to its keeper."""
    tree.start(*map(tree.child, "abc")).stop()
    tree.drain_notes()
    tree.runtime.run_until_idle()
    assert tree.drain_notes() == ["c1 let go", "b1 let go", "a1 let go"]
    assert tree.keeper.reports == [("root", 1, "exited")]
    assert tree.alive == []


def test_a_supervisor_that_fails_takes_its_children_with_it(tree: Tree) -> None:
    """Its next incarnation starts them all, so none of them lives twice."""
    specs = [tree.child("a"), tree.child("b")]
    tree.start(*specs)
    tree.root.tell(Kill())
    tree.runtime.run_until_idle()
    assert tree.alive == []
    assert tree.keeper.reports == [("root", 1, "ActorCrash")]
    tree.drain_notes()
    tree.start(*specs)
    assert tree.drain_notes() == ["a2 start", "b2 start"]


def test_no_child_lives_twice_whatever_happens(tree: Tree) -> None:
    """Every way to end, mixed, under the strategy that restarts the most; the fixture looks at each start."""
    hanging: list[Callable[[], Any]] = [lambda: hang_for(tree, 6.0), lambda: Once(fail), lambda: Once(exit_), Kill]
    tree.start(*(tree.child(name, turn_limit_s=5.0) for name in "abcd"), strategy=Strategy.REST_FOR_ONE)
    for number in range(60):
        tree.boxes["abcd"[number % 4]].tell(hanging[number % 3]())
        tree.boxes["abcd"[number * 7 % 4]].tell(hanging[number % 4]())
        if number % 5 == 0:
            tree.root.tell(Failed("abcd"[number % 4], number // 3, "ValueError", ""))
        tree.runtime.advance(0.1)
    tree.runtime.advance(60.0)
    assert [name[0] for name in tree.alive] == list("abcd")
    assert tree.dead.messages == []
