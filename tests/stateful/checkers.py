"""What must hold in every world: one invariant each, and an AssertionError that says what broke it.

`ALWAYS` holds after every step, `IN_THE_END` once the faults have stopped and nothing moves.
"""

from collections.abc import Callable

from amends.protocol import codec
from amends.protocol.events import CancelAnswer
from amends.protocol.messages import Done
from amends.protocol.records import (
    Decided,
    Direction,
    Ended,
    Intervened,
    Started,
    StepDone,
    StepUndone,
)
from amends.protocol.saga import Kind
from amends.protocol.state import Compensated, Completed, outcome, replay
from tests.stateful.services import Effect
from tests.stateful.world import STARTED, World


def replay_gives_the_state_that_wrote_the_records(world: World) -> None:
    """State is the fold of the records and of nothing else."""
    length, state = world.written[-1]
    assert state.length == length == len(world.records)
    assert replay(world.plan, world.records) == state


def every_record_survives_its_bytes(world: World) -> None:
    """What is read back from a journal is what was written."""
    for seq, record in enumerate(world.records):
        assert codec.decode_record(STARTED.saga_id, seq, codec.SCHEMA, codec.encode(record)) == record


def the_journal_keeps_its_grammar(world: World) -> None:
    """Started first, at most one decision, Ended last; what only a decision allows comes after it."""
    direction: Direction | None = None
    for number, record in enumerate(world.records):
        assert isinstance(record, Started) == (number == 0), f"record {number} is {record}"
        match record:
            case Decided():
                assert direction is None, f"decided twice: {record}"
                direction = record.direction
            case Ended():
                assert direction is (Direction.FORWARD if record.completed else Direction.BACK), f"{record}"
                assert number == len(world.records) - 1, f"{world.records[number + 1]} comes after the end"
            case StepDone(step) if world.plan.steps[step].kind is Kind.RETRIABLE:
                assert direction is Direction.FORWARD, f"{record} before the decision"
            case StepUndone():
                assert direction is Direction.BACK, f"{record} before the decision"
            case _:
                pass


def nothing_leaves_before_what_it_depends_on_is_durable(world: World) -> None:
    """No message without Started on disk, no retriable without FORWARD, no undo without BACK."""
    for departure in world.departures:
        send = departure.send
        assert departure.started, f"{send} left before Started was durable"
        if send.phase == "undo":
            assert departure.decided is Direction.BACK, f"{departure}"
        elif world.plan.steps[send.step].kind is Kind.RETRIABLE:
            assert departure.decided is Direction.FORWARD, f"{departure}"


def nothing_but_undos_leave_on_the_way_back(world: World) -> None:
    """Once it is decided to go back, nothing new is done and nothing is asked."""
    for departure in world.departures:
        assert departure.decided is not Direction.BACK or departure.send.phase == "undo", f"{departure}"


def nothing_leaves_after_the_end(world: World) -> None:
    """An ended instance is silent."""
    assert not any(departure.ended for departure in world.departures)


def a_step_is_always_the_same_command(world: World) -> None:
    """A step that is sent again, also after a crash, is sent with the payload it had."""
    assert not world.fence.conflicts


def no_effect_happens_twice(world: World) -> None:
    """Each step is done at most once and undone at most once."""
    effects = world.fence.effects
    assert len(effects) == len(set(effects)), f"{[str(e) for e in effects]}"


def nothing_is_done_after_its_undo(world: World) -> None:
    """A late command can't bring back what was undone."""
    for step in world.plan.steps:
        kinds = [effect.kind for effect in world.fence.effects if effect.step == step]
        assert kinds in ([], ["do"], ["do", "undo"]), f"{step}: {kinds}"


def a_step_is_done_after_those_it_needs(world: World) -> None:
    """Nothing is done before what it comes after, and nothing retriable before everything undoable."""
    done: set[str] = set()
    for effect in world.fence.effects:
        if effect.kind == "do":
            planned = world.plan.steps[effect.step]
            before = set(world.plan.before_decision) if planned.kind is Kind.RETRIABLE else set()
            missing = (before | set(planned.needs)) - done - world.waived
            assert not missing, f"{effect.step} was done before {sorted(missing)}"
            done.add(effect.step)


def effects_are_undone_in_reverse(world: World) -> None:
    """A step is undone after those that depend on it; only a stuck or waived one keeps nobody waiting."""
    effects = world.fence.effects
    for step in world.plan.compensatable:
        if Effect("undo", step) not in effects:
            continue
        undone_at = effects.index(Effect("undo", step))
        for dependent in set(world.plan.steps[step].dependents) - world.ever_stuck:
            if Effect("do", dependent) in effects:
                assert Effect("undo", dependent) in effects[:undone_at], f"{step} was undone before {dependent}"


def a_decision_is_never_reversed(world: World) -> None:
    """However often the process dies, every decision that reached the disk is the same one."""
    assert len(world.directions) <= 1, f"{world.directions}"


def a_pivot_that_happened_is_never_turned_back(world: World) -> None:
    """The pivot's effect and a decision to go back exclude each other."""
    if Direction.BACK in world.directions:
        assert Effect("do", world.plan.pivot or "") not in world.fence.effects


def what_was_told_stays_true(world: World) -> None:
    """An outcome, a cancel's answer and an accepted intervention outlive every crash."""
    ends = [told for told in world.told if isinstance(told, Ended)]
    assert all(told == world.ended for told in ends), f"told {ends}, now {world.ended}"
    for told in world.told:
        if isinstance(told, Intervened):
            assert told in world.records, f"{told} was accepted and is forgotten"
        if told is CancelAnswer.TOO_LATE:
            assert world.plan.pivot or world.state.direction, "a cancel was too late for nothing"
        if told is CancelAnswer.ALREADY_ENDED:
            assert world.ended is not None
        if told is CancelAnswer.ACCEPTED:
            assert world.state.direction is Direction.BACK, f"a cancel was accepted, now {world.state.direction}"


def it_ends(world: World) -> None:
    """Once the faults have stopped every instance ends, and nothing stays stuck."""
    assert world.ended is not None, f"nothing is under way and it is not at its end: {world.state}"
    assert not world.state.stuck


def all_or_nothing(world: World) -> None:
    """Completed: every step is done and none undone. Compensated: no effect is left."""
    assert world.ended is not None
    for name, planned in world.plan.steps.items():
        kinds = [effect.kind for effect in world.fence.effects if effect.step == name]
        if world.ended.completed:
            assert kinds == ["do"] or (name in world.waived and not kinds), f"completed, but {name}: {kinds}"
        elif planned.kind is Kind.COMPENSATABLE:
            assert kinds in ([], ["do", "undo"]) or name in world.waived, f"compensated, but {name}: {kinds}"
        else:
            assert not kinds, f"compensated, but {name}: {kinds}"


def the_results_are_those_of_the_services(world: World) -> None:
    """A completed instance knows the result of every step that was done."""
    came_out = outcome(world.plan, world.state)
    if isinstance(came_out, Completed):
        rows = {name: row.result for name, row in world.fence.rows.items() if isinstance(row, Done)}
        known = dict(came_out.results)
        assert {name: rows[name] for name in known} == known
        assert set(world.plan.steps) - set(known) <= world.waived


def a_compensated_instance_says_why(world: World) -> None:
    """Going back has a step or somebody's wish behind it, and a reason."""
    came_out = outcome(world.plan, world.state)
    if isinstance(came_out, Compensated):
        assert came_out.reason
        assert came_out.step is None or came_out.step in world.plan.steps


def every_prefix_gives_the_state_that_wrote_it(world: World) -> None:
    """After any record a crash may come, so each prefix of the history is a history."""
    prefixes = [replay(world.plan, world.records[:length]) for length in range(1, len(world.records) + 1)]
    for length, state in world.written:
        assert prefixes[length - 1] == state, f"after {length} records: replayed {prefixes[length - 1]}, was {state}"


Checker = Callable[[World], None]

ALWAYS: tuple[Checker, ...] = (
    replay_gives_the_state_that_wrote_the_records,
    the_journal_keeps_its_grammar,
    nothing_leaves_before_what_it_depends_on_is_durable,
    nothing_but_undos_leave_on_the_way_back,
    nothing_leaves_after_the_end,
    a_step_is_always_the_same_command,
    no_effect_happens_twice,
    nothing_is_done_after_its_undo,
    a_step_is_done_after_those_it_needs,
    effects_are_undone_in_reverse,
    a_decision_is_never_reversed,
    a_pivot_that_happened_is_never_turned_back,
    what_was_told_stays_true,
)
IN_THE_END: tuple[Checker, ...] = (
    it_ends,
    all_or_nothing,
    the_results_are_those_of_the_services,
    a_compensated_instance_says_why,
    every_record_survives_its_bytes,
    every_prefix_gives_the_state_that_wrote_it,
)


def always(world: World) -> None:
    """Everything that holds after every step."""
    for checker in ALWAYS:
        checker(world)


def in_the_end(world: World) -> None:
    """Everything that holds once nothing moves any more."""
    for checker in (*ALWAYS, *IN_THE_END):
        checker(world)
