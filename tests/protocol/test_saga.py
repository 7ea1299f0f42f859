"""The plan: what a Saga class becomes, and everything that can be wrong with it, found when it is defined and named."""

from collections.abc import Callable
from dataclasses import dataclass
from types import new_class
from typing import Any

import msgspec
import pytest

from amends.protocol.errors import InputError, PlanError
from amends.protocol.retry import Retry
from amends.protocol.saga import (
    Contracts,
    Handling,
    Kind,
    Plan,
    Results,
    Saga,
    Step,
    check_with_services,
    pivot,
    retriable,
    step,
)
from tests.protocol.driven import Act, Chain, Diamond, Pivoted

Declare = Callable[[Callable[[Any, Any, Results], Any]], Step]


def made(declare: Declare) -> Step:
    """A step as `declare` says, whose method returns an Act."""

    def build(self: Saga, value: int, done: Results) -> Act:
        return Act("made")

    return declare(build)


def plan_of(_input: Any = int, /, **steps: Step) -> Plan:
    """The plan of a saga called "made" with these steps."""
    body: dict[str, Any] = {"__annotations__": {"input": _input}, **steps}
    saga: type[Saga] = new_class("Made", (Saga,), {"name": "made"}, lambda namespace: namespace.update(body))
    return saga.plan


# What a plan says


def test_a_plan_says_what_the_class_says() -> None:
    """Its name, its version, its times and its input's type."""

    class Whole(Saga, name="whole", version=3, deadline_s=60.0, undo_reserve_s=15.0):
        input: Act

        @step(to="north", timeout_s=2.5, retry=Retry(attempts=9))
        def a(self, value: Act, done: Results) -> Act:
            return value

    plan = Whole.plan
    assert (plan.name, plan.version, plan.saga, plan.input) == ("whole", 3, Whole, Act)
    assert (plan.deadline_s, plan.undo_reserve_s) == (60.0, 15.0)
    planned = plan.steps["a"]
    assert (planned.to, planned.kind, planned.command) == ("north", Kind.COMPENSATABLE, Act)
    assert (planned.timeout_s, planned.retry) == (2.5, Retry(attempts=9))


def test_a_fifth_of_the_deadline_is_kept_for_undoing_unless_said() -> None:
    """The time forward ends before the time does."""

    class Timed(Saga, name="timed", deadline_s=10.0):
        input: int

        a = made(step(to="north"))

    assert Timed.plan.forward_until(1000.0) == 1008.0


def test_a_saga_without_a_deadline_never_has_to_turn_back() -> None:
    """None is none."""
    assert Chain.plan.forward_until(1000.0) is None


def test_all_of_a_deadline_may_be_used_to_go_forward() -> None:
    """A reserve of nothing is a reserve."""

    class Bold(Saga, name="bold", deadline_s=10.0, undo_reserve_s=0.0):
        input: int

        a = made(step(to="north"))

    assert Bold.plan.forward_until(1000.0) == 1010.0


def test_steps_stand_in_an_order_in_which_each_comes_after_those_it_needs() -> None:
    """The pivot after all that can be undone, and what is retriable last, wherever the class has them."""
    a = made(step(to="north"))
    r = made(retriable(to="north"))
    p = made(pivot(to="north"))
    assert list(plan_of(r=r, p=p, b=made(step(to="north", after=[a])), a=a).steps) == ["a", "b", "p", "r"]


def test_the_pivot_needs_every_compensatable_step() -> None:
    """Said or not."""
    assert Pivoted.plan.steps["p"].needs == ("a", "b")
    assert Pivoted.plan.pivot == "p"


def test_a_step_named_twice_is_needed_once() -> None:
    """The order says nothing more the second time."""
    a = made(step(to="north"))
    assert plan_of(a=a, b=made(step(to="north", after=[a, a]))).steps["b"].needs == ("a",)


def test_a_step_knows_who_must_be_undone_before_it() -> None:
    """All that come after it, directly or not; nothing that can't be undone is among them."""
    steps = Diamond.plan.steps
    assert {name: set(planned.dependents) for name, planned in steps.items()} == {
        "top": {"left", "right", "bottom"},
        "left": {"bottom"},
        "right": {"bottom"},
        "bottom": set(),
    }
    assert Pivoted.plan.steps["b"].dependents == ()


def test_a_step_sees_the_results_of_all_that_came_before_it() -> None:
    """Directly or not; one beside it is not certain to be there."""
    steps = Diamond.plan.steps
    assert steps["bottom"].visible == {"top", "left", "right"}
    assert steps["left"].visible == {"top"}


def test_a_retriable_step_sees_everything_before_the_decision() -> None:
    """It is sent after the decision, so all of that is done."""
    assert Chain.plan.steps["r"].visible == {"a", "b", "c"}
    assert Chain.plan.steps["s"].visible == {"a", "b", "c", "r"}


def test_a_subclass_takes_its_steps_over() -> None:
    """And may add some."""

    class Longer(Diamond, name="longer"):
        extra = made(retriable(to="north"))

    assert list(Longer.plan.steps) == [*Diamond.plan.steps, "extra"]
    assert list(Diamond.plan.steps) == ["top", "left", "right", "bottom"]


def test_a_type_named_in_a_functions_body_is_found() -> None:
    """Sagas are defined in tests and factories too, under postponed annotations."""

    class Inner(msgspec.Struct):
        n: int

    class Local(Saga, name="local"):
        input: "Inner"

        @step(to="north")
        def a(self, value: "Inner", done: Results) -> "Inner":
            return value

    assert Local.plan.input is Inner
    assert Local.plan.steps["a"].command is Inner


# What can be wrong with it


def cycle() -> dict[str, Step]:
    """Two steps wait for each other, and one is free."""
    a, b, free = made(step(to="north")), made(step(to="north")), made(step(to="north"))
    a.needs, b.needs = (b,), (a,)
    return {"a": a, "b": b, "free": free}


def foreign() -> dict[str, Step]:
    """A step comes after one of another saga."""
    return {"a": made(step(to="north", after=[Chain.__dict__["b"]]))}


def two_pivots() -> dict[str, Step]:
    """Two points of no return."""
    return {"p": made(pivot(to="north")), "q": made(pivot(to="north"))}


def undoable_after_the_pivot() -> dict[str, Step]:
    """A step that could be undone comes after what can't."""
    p = made(pivot(to="north"))
    return {"p": p, "a": made(step(to="north", after=[p]))}


def step_after_a_retriable() -> dict[str, Step]:
    """A step before the decision waits for one after it."""
    r = made(retriable(to="north"))
    return {"r": r, "a": made(step(to="north", after=[r]))}


def pivot_after_a_retriable() -> dict[str, Step]:
    """The decision waits for what comes after it."""
    r = made(retriable(to="north"))
    return {"r": r, "p": made(pivot(to="north", after=[r]))}


def no_time() -> dict[str, Step]:
    """An attempt has no time at all."""
    return {"a": made(step(to="north", timeout_s=0.0))}


def no_number() -> dict[str, Step]:
    """An attempt's time is no number."""
    return {"a": made(step(to="north", timeout_s=float("nan")))}


TOO_EARLY = "comes before the decision and can't wait for the retriable step 'r', which is only sent after it"


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (dict, "saga 'made': has no step; decorate at least one method with @step, @pivot or @retriable"),
        (cycle, "saga 'made': steps ['a', 'b'] wait for each other in a circle"),
        (foreign, "saga 'made': step 'a' comes after 'b', which is no step of this saga"),
        (two_pivots, "saga 'made': steps ['p', 'q'] are all pivots; a saga has at most one point of no return"),
        (
            undoable_after_the_pivot,
            "saga 'made': step 'a' comes after the pivot and can be undone; make it retriable or move it before",
        ),
        (step_after_a_retriable, f"saga 'made': step 'a' {TOO_EARLY}"),
        (pivot_after_a_retriable, f"saga 'made': step 'p' {TOO_EARLY}"),
        (no_time, "saga 'made': step 'a' has timeout_s=0.0, wanted more than 0"),
        (no_number, "saga 'made': step 'a' has timeout_s=nan, wanted more than 0"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_plan_that_can_not_work_is_refused_where_it_is_defined(
    steps: Callable[[], dict[str, Step]], message: str
) -> None:
    """The error names the saga and the step, and says what is wanted."""
    with pytest.raises(PlanError) as raised:
        plan_of(**steps())
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"version": 0}, "saga 'made': version is 0, wanted 1 or more"),
        ({"deadline_s": 0.0}, "saga 'made': undo_reserve_s is 0.0, wanted from 0 to below deadline_s=0.0"),
        ({"deadline_s": -1.0}, "saga 'made': undo_reserve_s is -0.2, wanted from 0 to below deadline_s=-1.0"),
        (
            {"deadline_s": 5.0, "undo_reserve_s": 5.0},
            "saga 'made': undo_reserve_s is 5.0, wanted from 0 to below deadline_s=5.0",
        ),
        (
            {"deadline_s": 5.0, "undo_reserve_s": -1.0},
            "saga 'made': undo_reserve_s is -1.0, wanted from 0 to below deadline_s=5.0",
        ),
    ],
    ids=["version", "no time", "negative", "all reserved", "negative reserve"],
)
def test_settings_of_a_saga_that_can_not_work_are_refused(keywords: dict[str, Any], message: str) -> None:
    """The value found and the value wanted are in the message."""
    body: dict[str, Any] = {"__annotations__": {"input": int}, "a": made(step(to="north"))}
    with pytest.raises(PlanError) as raised:
        new_class("Made", (Saga,), {"name": "made", **keywords}, lambda namespace: namespace.update(body))
    assert str(raised.value) == message


def test_a_saga_without_an_input_is_refused() -> None:
    """Its type is how a start is checked."""
    with pytest.raises(PlanError, match=r"^saga 'mute': declares no input; write `input: TheType` in the class$"):

        class Mute(Saga, name="mute"):
            a = made(step(to="north"))


def test_an_input_that_can_not_be_read_back_is_refused() -> None:
    """It would fail at the first start otherwise."""

    @dataclass
    class One:
        a: int

    @dataclass
    class Other:
        b: int

    with pytest.raises(PlanError, match=r"^saga 'undecided': input: .*more than one dataclass"):

        class Undecided(Saga, name="undecided"):
            input: One | Other

            @step(to="north")
            def go(self, value: object, done: Results) -> One:
                return One(1)


def test_an_after_that_names_no_step_is_refused() -> None:
    """A name is not a step; the error shows what to write."""
    with pytest.raises(PlanError, match=r"saga 'named': step 'second': after has 'first', wanted steps"):

        class Named(Saga, name="named"):
            input: int

            @step(to="north")
            def first(self, value: int, done: Results) -> Act:
                return Act("a")

            @step(to="north", after=["first"])  # type: ignore[list-item]
            def second(self, value: int, done: Results) -> Act:
                return Act("b")


def test_results_can_be_asked_what_they_have() -> None:
    """Asking is no error, only taking what is not there."""
    results = Results("saga 's'", {"one": msgspec.Raw(b"1")})
    assert "one" in results
    assert "two" not in results


def test_an_input_type_that_can_not_be_found_is_refused() -> None:
    """The error names what was looked for."""
    with pytest.raises(PlanError, match=r"^saga 'made': input: the annotation names an unknown type: .*'Missing'"):
        plan_of("Missing", a=made(step(to="north")))


@pytest.mark.parametrize("annotation", [None, object, Act | None, "Missing"], ids=str)
def test_a_method_that_does_not_say_its_command_is_refused(annotation: Any) -> None:
    """The command's class is what finds its handler."""

    def build(self: Saga, value: int, done: Results) -> Any:
        return Act("a")

    build.__annotations__["return"] = annotation
    with pytest.raises(PlanError, match=r"^saga 'made': step 'a'") as raised:
        plan_of(a=step(to="north")(build))
    wanted = "names an unknown type" if annotation == "Missing" else "annotate the command's class, as in `-> Res"
    assert wanted in str(raised.value)


# What its services say


def act_on(undoable: bool) -> Contracts:
    """A service north that handles Act."""
    return {"north": {"Act": (Act, Handling(type(None), undoable))}}


class Other(msgspec.Struct):
    """A command nobody handles."""


def test_a_plan_whose_commands_all_have_handlers_is_fine() -> None:
    """A compensatable step's handler has an undo."""
    check_with_services(plan_of(a=made(step(to="north"))), act_on(undoable=True))


@pytest.mark.parametrize("declare", [pivot(to="north"), retriable(to="north")], ids=["pivot", "retriable"])
def test_what_is_never_undone_needs_no_undo(declare: Declare) -> None:
    """Only a compensatable step does."""
    check_with_services(plan_of(a=made(declare)), act_on(undoable=False))


def named_alike() -> type:
    """A class called Act that is not ours."""
    return msgspec.defstruct("Act", ["step"])


NO_UNDO = "can't undo Act; give it an @undoes(Act), or make the step the pivot or retriable"


@pytest.mark.parametrize(
    ("to", "contracts", "message"),
    [
        ("south", act_on(True), "saga 'made': step 'a': unknown service 'south'; wanted one of ['north']"),
        (
            "north",
            {"north": {"Other": (Other, Handling(int, True))}},
            "saga 'made': step 'a': service 'north' does not handle Act; it handles ['Other']",
        ),
        (
            "north",
            {"north": {"Act": (named_alike(), Handling(int, True))}},
            "saga 'made': step 'a': service 'north' does not handle Act; it handles ['Act']",
        ),
        (
            "north",
            act_on(False),
            f"saga 'made': step 'a': service 'north' {NO_UNDO}",
        ),
    ],
    ids=["unknown service", "unknown command", "another class of that name", "no undo"],
)
def test_a_plan_its_services_can_not_carry_out_is_refused(to: str, contracts: Contracts, message: str) -> None:
    """When the system is built, and not when the first step is sent."""
    with pytest.raises(PlanError) as raised:
        check_with_services(plan_of(a=made(step(to=to))), contracts)
    assert str(raised.value) == message


# What its methods get


RESULTS = Results("saga 'made': step 'b'", {"a": msgspec.Raw(b'{"step":"x"}')})


def test_a_result_is_had_as_a_type() -> None:
    """The service's JSON becomes the caller's class."""
    assert RESULTS.of("a", Act) == Act("x")


def test_results_are_a_mapping_of_json() -> None:
    """For those who want it raw."""
    assert dict(RESULTS) == {"a": msgspec.Raw(b'{"step":"x"}')}
    assert len(RESULTS) == 1


def test_a_result_of_another_type_is_an_input_error() -> None:
    """It says whose result it is."""
    with pytest.raises(InputError, match=r"^saga 'made': step 'b': result of 'a': \$: Expected `int`, got `object`$"):
        RESULTS.of("a", int)


def test_a_result_that_is_not_certain_to_be_there_is_a_mistake_of_the_plan() -> None:
    """The error says what could be asked for, and what is missing."""
    with pytest.raises(PlanError) as raised:
        RESULTS.of("c", Act)
    assert str(raised.value) == (
        "saga 'made': step 'b': asks for the result of 'c', which is not certain to be there; "
        "wanted one of ['a'] (add an `after`)"
    )


def test_results_name_no_values() -> None:
    """They may end in a traceback."""
    assert repr(RESULTS) == "Results(a)"
