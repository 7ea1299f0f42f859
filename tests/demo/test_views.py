"""Views: to whoever holds one, a dict or a set."""

import copy
import operator
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from amends.demo.systems.views import DictView, HoldsViews, SetView

START = {"b": 1, "a": 2}


class Kept:
    """What stands behind the views of these tests, and all that it was told."""

    def __init__(self) -> None:
        self.values: dict[str, int] = dict(START)
        self.members = ["y", "x"]
        self.told: list[tuple[Any, tuple[str, ...]]] = []

    def read(self, keys: tuple[str, ...] | None) -> Mapping[str, int]:
        return {k: v for k, v in self.values.items() if keys is None or k in keys}

    def write(self, changes: dict[str, int], gone: tuple[str, ...]) -> None:
        self.told.append((changes, gone))
        self.values |= changes
        for key in gone:
            del self.values[key]

    def write_members(self, more: tuple[str, ...], gone: tuple[str, ...]) -> None:
        self.told.append((more, gone))
        self.members = [m for m in self.members if m not in gone] + [m for m in more if m not in self.members]


def sound(name: str, value: int) -> int:
    """A number below 100."""
    if value >= 100:
        raise ValueError(f"{name}: found {value}, wanted less than 100")
    return value


@pytest.fixture
def kept() -> Kept:
    """The store."""
    return Kept()


@pytest.fixture
def view(kept: Kept) -> DictView[int]:
    """A dict of START."""
    return DictView("shelf", kept.read, kept.write, sound)


@pytest.fixture
def members(kept: Kept) -> SetView:
    """A set of x and y."""
    return SetView("list", lambda: kept.members, kept.write_members)


def answer_of(do: Callable[[Any], Any], given: Any) -> Any:
    """What it gives or raises."""
    try:
        return do(given)
    except Exception as error:  # noqa: BLE001 - compared with what the original raises
        return type(error), error.args


def unpickled(value: Any) -> Any:
    """What another process gets of it."""
    return pickle.loads(pickle.dumps(value))


def ior(one: Any, other: Any) -> Any:
    """As `|=`."""
    one |= other
    return one


def isub(one: Any, other: Any) -> Any:
    """As `-=`."""
    one -= other
    return one


def iand(one: Any, other: Any) -> Any:
    """As `&=`."""
    one &= other
    return one


def ixor(one: Any, other: Any) -> Any:
    """As `^=`."""
    one ^= other
    return one


DICT_DOES: dict[str, Callable[[Any], Any]] = {
    "get": lambda d: (d["a"], d.get("a"), d.get("z"), d.get("z", 7)),
    "missing": lambda d: d["z"],
    "not a key": lambda d: d[5],
    "unhashable": lambda d: d[[]],
    "in": lambda d: ("a" in d, "z" in d, 5 in d),
    "unhashable in": lambda d: [] in d,
    "len and bool": lambda d: (len(d), bool(d)),
    "iter": lambda d: (list(d), list(reversed(d)), [*d.keys()], [*d.values()], [*d.items()]),
    "views": lambda d: (("a", 2) in d.items(), 2 in d.values(), d.keys() & {"a", "q"}, len(d.items())),
    "equal": lambda d: (d == {"a": 2, "b": 1}, dict(START) == d, d != {}, d == 5),
    "repr": lambda d: (repr(d), f"{d}"),
    "copy": lambda d: (d.copy(), type(d.copy()), dict(d), {**d}),
    "copied": lambda d: [(made, type(made)) for made in (copy.copy(d), copy.deepcopy(d), unpickled(d))],
    "or": lambda d: (d | {"c": 3}, {"c": 3, "a": 9} | d),
    "set": lambda d: operator.setitem(d, "c", 3),
    "set again": lambda d: operator.setitem(d, "b", 3),
    "delete": lambda d: operator.delitem(d, "b"),
    "delete missing": lambda d: operator.delitem(d, "z"),
    "change": lambda d: operator.setitem(d, "a", d["a"] - 1),
    "update with a dict": lambda d: d.update({"c": 3}, d=4),
    "update with pairs": lambda d: d.update([("c", 3), ("a", 0)]),
    "update with nothing": lambda d: d.update(),
    "update with itself": lambda d: d.update(d),
    "ior": lambda d: ior(d, {"c": 3}) is d,
    "pop": lambda d: (d.pop("a"), d.pop("z", None)),
    "pop missing": lambda d: d.pop("z"),
    "popitem": lambda d: d.popitem(),
    "popitem of none": lambda d: (d.clear(), d.popitem()),
    "setdefault": lambda d: (d.setdefault("a", 5), d.setdefault("z", 5)),
    "clear": lambda d: d.clear(),
    "hash": hash,
}


@pytest.mark.parametrize("name", DICT_DOES)
def test_a_view_answers_as_a_dict_does(name: str, view: DictView[int]) -> None:
    """The same answer or the same error, and the same left behind, in the same order."""
    if name in ("hash", "unhashable", "unhashable in", "popitem of none"):
        # Of these the kind of error counts, not its text.
        expected, found = answer_of(DICT_DOES[name], dict(START)), answer_of(DICT_DOES[name], view)
        assert found[0] is expected[0]
        return
    plain = dict(START)
    assert answer_of(DICT_DOES[name], view) == answer_of(DICT_DOES[name], plain)
    assert list(view.items()) == list(plain.items())
    assert len(view) == len(plain)


@pytest.mark.parametrize(
    ("do", "told"),
    [
        (lambda d: d.update({"c": 3, "a": 0}), ({"c": 3, "a": 0}, ())),
        (lambda d: ior(d, {"c": 3, "d": 4}), ({"c": 3, "d": 4}, ())),
        (lambda d: d.clear(), ({}, ("b", "a"))),
        (lambda d: d.replace({"c": 3, "a": 0}), ({"c": 3, "a": 0}, ("b",))),
    ],
)
def test_what_is_given_at_once_is_told_in_one_message(
    do: Callable[[Any], Any], told: Any, view: DictView[int], kept: Kept
) -> None:
    """Others see all of it or nothing."""
    do(view)
    assert kept.told == [told]


def test_a_bad_value_is_named_and_nothing_is_told(view: DictView[int], kept: Kept) -> None:
    """The good ones beside it are not set either."""
    with pytest.raises(ValueError, match=r"^shelf\['c'\]: found 100, wanted less than 100$"):
        view.update({"a": 5, "c": 100})
    with pytest.raises(TypeError, match=r"^shelf: found a key that is 5, wanted a str$"):
        view[5] = 1  # type: ignore[index]
    assert kept.told == []


SET_DOES: dict[str, Callable[[Any], Any]] = {
    "in": lambda s: ("x" in s, "q" in s, 5 in s),
    "unhashable in": lambda s: [] in s,
    "len and bool": lambda s: (len(s), bool(s)),
    "iter": sorted,
    "equal": lambda s: (s == {"x", "y"}, {"x", "y"} == s, s != {"x"}, s == ["x", "y"]),
    "compared": lambda s: (s <= {"x", "y", "z"}, {"x"} < s, s.isdisjoint({"q"})),
    "joined": lambda s: (s | {"q"}, s & {"x"}, s - {"x"}, s ^ {"x", "q"}, {"q"} | s),
    "kind of what is joined": lambda s: type(s | {"q"}),
    "copy": lambda s: (s.copy(), type(s.copy())),
    "copied": lambda s: [(made, type(made)) for made in (copy.copy(s), copy.deepcopy(s), unpickled(s))],
    "joined by name": lambda s: (s.union(["q"], {"r"}), s.union(), s.intersection(["x", "q"], "xyz")),
    "parted by name": lambda s: (s.difference(["x"], {"q"}), s.symmetric_difference(["x", "q"]), type(s.difference())),
    "compared by name": lambda s: (s.issubset(["x", "y", "z"]), s.issuperset("xy"), s.isdisjoint(["q", 5])),
    "compared by name, not so": lambda s: (s.issubset(["x"]), s.issuperset(["q"]), s.isdisjoint(["x"])),
    "add": lambda s: s.add("z"),
    "add again": lambda s: s.add("x"),
    "discard": lambda s: s.discard("x"),
    "discard missing": lambda s: s.discard("q"),
    "discard no str": lambda s: s.discard(5),
    "remove": lambda s: s.remove("x"),
    "remove missing": lambda s: s.remove("q"),
    "pop": lambda s: s.pop() in {"x", "y"} and len(s),
    "update": lambda s: s.update(["p"], {"q"}),
    "difference_update": lambda s: s.difference_update(["x"], {"q"}),
    "intersection_update": lambda s: s.intersection_update(["x", "q"], {"x", "y"}),
    "symmetric_difference_update": lambda s: s.symmetric_difference_update(["x", "q"]),
    "ior": lambda s: ior(s, {"q"}) is s,
    "isub": lambda s: isub(s, {"x"}) is s,
    "iand": lambda s: iand(s, {"x"}) is s,
    "ixor": lambda s: ixor(s, {"x", "q"}) is s,
    "clear": lambda s: s.clear(),
    "hash": hash,
}


@pytest.mark.parametrize("name", SET_DOES)
def test_a_view_answers_as_a_set_does(name: str, members: SetView) -> None:
    """The same answer or the same error, and the same left behind."""
    if name in ("hash", "unhashable in"):
        assert answer_of(SET_DOES[name], members)[0] is TypeError
        return
    if name == "pop":  # which one is anybody's guess
        assert SET_DOES[name](members) == 1
        return
    plain = {"x", "y"}
    assert answer_of(SET_DOES[name], members) == answer_of(SET_DOES[name], plain)
    assert members.copy() == plain


def test_a_set_is_shown_as_a_set(members: SetView) -> None:
    """Full or empty."""
    assert repr(members) in ("{'x', 'y'}", "{'y', 'x'}")
    members.clear()
    assert f"{members}" == "set()"


@pytest.mark.parametrize(
    ("do", "told"),
    [
        (lambda s: s.update({"q", "p"}), (("p", "q"), ())),
        (lambda s: ior(s, {"q", "p"}), (("p", "q"), ())),
        (lambda s: isub(s, {"x", "y"}), ((), ("x", "y"))),
        (lambda s: iand(s, {"q"}), ((), ("x", "y"))),
        (lambda s: ixor(s, {"x", "q"}), (("q",), ("x",))),
        (lambda s: ixor(s, s), ((), ("x", "y"))),
        (lambda s: s.replace({"q", "x"}), (("q",), ("y",))),
        (lambda s: s.clear(), ((), ("x", "y"))),
    ],
)
def test_members_given_at_once_are_told_in_one_message(
    do: Callable[[Any], Any], told: Any, members: SetView, kept: Kept
) -> None:
    """Others see all of them or none."""
    do(members)
    assert kept.told == [told]


def test_a_bad_member_is_named_and_nothing_is_told(members: SetView, kept: Kept) -> None:
    """The good ones beside it are not added either."""
    with pytest.raises(TypeError, match=r"^list: found a member that is 5, wanted a str$"):
        members.update({"q", 5})  # type: ignore[arg-type]
    assert kept.told == []


# Those who hold views.


class Holder(HoldsViews):
    """One of each kind, and something else."""

    def __init__(self, view: DictView[int], members: SetView) -> None:
        self.shelf = view
        self.list = members
        self.other = 1


@pytest.fixture
def holder(view: DictView[int], members: SetView) -> Holder:
    """Its views are the views of these tests."""
    return Holder(view, members)


def assign(holder: Holder, name: str, value: Any) -> Any:
    """As `holder.name = value`, which is no view of the declared type."""
    setattr(holder, name, value)
    return getattr(holder, name)


def test_what_is_assigned_to_a_view_becomes_its_content(holder: Holder, kept: Kept) -> None:
    """All of it; what is assigned to anything else is."""
    shelf, members = holder.shelf, holder.list
    assert assign(holder, "shelf", {"c": 3}) is shelf
    assert assign(holder, "list", ["q"]) is members
    assert assign(holder, "other", 2) == 2
    assert (kept.values, kept.members) == ({"c": 3}, ["q"])


def test_a_view_that_is_assigned_to_itself_is_told_nothing(holder: Holder, kept: Kept) -> None:
    """As `|=` does, which has told all there is to tell."""
    assert assign(holder, "shelf", holder.shelf) == START
    assert assign(holder, "list", holder.list) == {"x", "y"}
    assert kept.told == []


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("shelf", None, r"^shelf: found NoneType, wanted a dict$"),
        ("shelf", [("a", 1)], r"^shelf: found list, wanted a dict$"),
        ("shelf", {5: 1}, r"^shelf: found a key that is 5, wanted a str$"),
        ("list", "xy", r"^list: found str, wanted a set$"),
        ("list", None, r"^list: found NoneType, wanted a set$"),
        ("list", {5}, r"^list: found a member that is 5, wanted a str$"),
    ],
)
def test_what_can_not_be_a_views_content_is_not_assigned(
    name: str, value: Any, problem: str, holder: Holder, kept: Kept
) -> None:
    """The error names the view, and nothing is told."""
    with pytest.raises(TypeError, match=problem):
        assign(holder, name, value)
    assert kept.told == []
