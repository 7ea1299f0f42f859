"""Views: a dict or a set to whoever holds one, a service's state behind it.

Reading asks the service, writing tells it, and what a view is given at once it tells in one
message. A value that can't be is refused before anything is told. What no single message can
do (`d[k] -= 1`, `setdefault`, `pop`) reads and then writes, as it does with a dict that several
threads share. A copy of a view, or a pickle, is the caller's own dict or set. Who wants a dict and
nothing like one, as `json.dumps` does, is given `dict(view)`.
"""

from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, MutableMapping, MutableSet, ValuesView
from collections.abc import Set as AbstractSet
from typing import Any, Self, TypeVar

V = TypeVar("V")

Ids = tuple[str, ...]


class DictView(MutableMapping[str, V]):
    """A dict.

    Args:
        name: what errors call it.
        read: the values of these keys, or of all, in the order in which they came in.
        write: sets some keys and strikes others off, all or nothing.
        sound: the value as it is told, or TypeError or ValueError; it is given what errors call the value.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(
        self,
        name: str,
        read: Callable[[Ids | None], Mapping[str, V]],
        write: Callable[[dict[str, V], Ids], None],
        sound: Callable[[str, V], V],
    ) -> None:
        self._name = name
        self._read = read
        self._write = write
        self._sound = sound

    def __reduce__(self) -> tuple[type, tuple[dict[str, V]]]:
        return dict, (self.copy(),)

    def __getitem__(self, key: Any) -> V:
        if not isinstance(key, str):
            return {}[key]  # KeyError, or TypeError if it can't be a key of any dict
        return self._read((key,))[key]

    def __setitem__(self, key: str, value: V) -> None:
        self.update({key: value})

    def __delitem__(self, key: str) -> None:
        self[key]
        self._write({}, (key,))

    def __iter__(self) -> Iterator[str]:
        return iter(self.copy())

    def __reversed__(self) -> Iterator[str]:
        return reversed(self.copy())

    def __len__(self) -> int:
        return len(self._read(None))

    def __repr__(self) -> str:
        return repr(self.copy())

    def __or__(self, other: Mapping[str, V]) -> dict[str, V]:
        return self.copy() | dict(other)

    def __ror__(self, other: Mapping[str, V]) -> dict[str, V]:
        return dict(other) | self.copy()

    def __ior__(self, other: Any) -> Self:  # type: ignore[misc]  # as `dict`, it takes pairs too
        self.update(other)
        return self

    def items(self) -> ItemsView[str, V]:
        return _Items(self)

    def values(self) -> ValuesView[V]:
        return _Values(self)

    def copy(self) -> dict[str, V]:
        """All that is there now, as a dict of the caller's own."""
        return dict(self._read(None))

    def update(self, other: Any = (), /, **more: V) -> None:
        changes = self._sound_items(dict(other, **more))
        if changes:
            self._write(changes, ())

    def popitem(self) -> tuple[str, V]:
        there = self.copy()
        last = there.popitem()
        self._write({}, (last[0],))
        return last

    def clear(self) -> None:
        there = tuple(self)
        if there:
            self._write({}, there)

    def replace(self, content: object) -> None:
        """Let this be all that is there."""
        if not isinstance(content, Mapping):
            raise TypeError(f"{self._name}: found {type(content).__name__}, wanted a dict")
        changes = self._sound_items(content)
        gone = tuple(key for key in self if key not in changes)
        if changes or gone:
            self._write(changes, gone)

    def _sound_items(self, items: Mapping[Any, V]) -> dict[str, V]:
        return {self._key(key): self._sound(f"{self._name}[{key!r}]", value) for key, value in items.items()}

    def _key(self, key: object) -> str:
        if not isinstance(key, str):
            raise TypeError(f"{self._name}: found a key that is {key!r}, wanted a str")
        return key


class _Items(ItemsView[str, V]):
    """Iterates over what is there at one moment, and asks once for it."""

    _mapping: DictView[V]

    def __iter__(self) -> Iterator[tuple[str, V]]:
        return iter(self._mapping.copy().items())


class _Values(ValuesView[V]):
    """As `_Items`."""

    _mapping: DictView[V]

    def __iter__(self) -> Iterator[V]:
        return iter(self._mapping.copy().values())


class SetView(MutableSet[str]):
    """A set.

    Args:
        name: what errors call it.
        read: all members.
        write: adds some and removes others, all or nothing.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, name: str, read: Callable[[], Iterable[str]], write: Callable[[Ids, Ids], None]) -> None:
        self._name = name
        self._read = read
        self._write = write

    @classmethod
    def _from_iterable(cls, members: Iterable[Any]) -> set[Any]:
        return set(members)  # what `&`, `|`, `-` and `^` give is the caller's own

    def __contains__(self, member: object) -> bool:
        return member in self.copy()

    def __iter__(self) -> Iterator[str]:
        return iter(self.copy())

    def __len__(self) -> int:
        return len(self.copy())

    def __repr__(self) -> str:
        return repr(self.copy())

    def __reduce__(self) -> tuple[type, tuple[set[str]]]:
        return set, (self.copy(),)

    def __ior__(self, other: AbstractSet[str]) -> Self:  # type: ignore[override,misc]
        self.update(other)
        return self

    def __isub__(self, other: AbstractSet[Any]) -> Self:
        self.difference_update(other)
        return self

    def __iand__(self, other: AbstractSet[Any]) -> Self:
        self.intersection_update(other)
        return self

    def __ixor__(self, other: AbstractSet[str]) -> Self:  # type: ignore[override,misc]
        self.symmetric_difference_update(other)
        return self

    def copy(self) -> set[str]:
        """All that is there now, as a set of the caller's own."""
        return set(self._read())

    def union(self, *others: Iterable[Any]) -> set[Any]:
        return self.copy().union(*others)

    def intersection(self, *others: Iterable[Any]) -> set[str]:
        return self.copy().intersection(*others)

    def difference(self, *others: Iterable[Any]) -> set[str]:
        return self.copy().difference(*others)

    def symmetric_difference(self, other: Iterable[Any]) -> set[Any]:
        return self.copy().symmetric_difference(other)

    def issubset(self, other: Iterable[Any]) -> bool:
        return self.copy().issubset(other)

    def issuperset(self, other: Iterable[Any]) -> bool:
        return self.copy().issuperset(other)

    def isdisjoint(self, other: Iterable[Any]) -> bool:
        return self.copy().isdisjoint(other)

    def add(self, value: str) -> None:
        self.update((value,))

    def discard(self, value: str) -> None:
        self.difference_update((value,))

    def update(self, *others: Iterable[str]) -> None:
        """Add the members of all of them."""
        self._change(set[str]().union(*others), set())

    def difference_update(self, *others: Iterable[Any]) -> None:
        """Remove the members of all of them, where they are there."""
        less = set[Any]().union(*others)
        self._change(set(), {member for member in less if isinstance(member, str)})

    def intersection_update(self, *others: Iterable[Any]) -> None:
        """Remove what is not in all of them."""
        there = self.copy()
        self._change(set(), there - there.intersection(*others))

    def symmetric_difference_update(self, other: Iterable[str]) -> None:
        """Add what is not there of it, and remove what is."""
        there, other = self.copy(), set(other)
        self._change(other - there, other & there)

    def clear(self) -> None:
        self._change(set(), self.copy())

    def replace(self, content: object) -> None:
        """Let this be all that is there."""
        # What stands in a text is letters, and no order's number.
        if isinstance(content, str) or not isinstance(content, Iterable):
            raise TypeError(f"{self._name}: found {type(content).__name__}, wanted a set")
        there, wanted = self.copy(), set(content)
        self._change(wanted - there, there - wanted)

    def _change(self, more: AbstractSet[str], less: AbstractSet[str]) -> None:
        for member in more:
            if not isinstance(member, str):
                raise TypeError(f"{self._name}: found a member that is {member!r}, wanted a str")
        if more or less:
            self._write(tuple(sorted(more)), tuple(sorted(less)))


class HoldsViews:
    """What is assigned to an attribute that is a view becomes the view's content, for a view that is lost helps nobody.

    The view stays what it was; the dict or set that was assigned is not looked at any more.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        view = vars(self).get(name)
        if not isinstance(view, DictView | SetView):
            super().__setattr__(name, value)
        elif value is not view:  # as it is after `|=`
            view.replace(value)
