"""Answering: inputs go into an order system, a line comes out for each.

A bounded number is under way at any moment. Lines come out in the order of the input, unless
they are wanted as the orders end. An input that the system does not take is told of, and has its
line as well if the system has one for such; the others go on.
"""

import queue
import threading
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from amends import AmendsError, InputError, KeyConflict, Overloaded
from amends.demo.load import STALL_S, Tally
from amends.demo.stocking import Stalled
from amends.demo.systems.runnable import OrderSystem, Runnable

Tell = Callable[[str], None]

_NOT_TAKEN = (InputError, KeyConflict, Overloaded)
"""Errors that say for certain that an order was not taken; after any other one it may end well yet."""


@dataclass(frozen=True)
class Input:
    """One order to be, and where it stands."""

    where: str
    value: Any


@dataclass
class _Asked:
    """An input under way."""

    input: Input
    started_s: float
    took_s: float = 0.0
    answer: "Future[Any] | None" = None
    there: threading.Event = field(default_factory=threading.Event)


def read_inputs(lines: Iterable[bytes], read: Callable[[str], Any], complain: Tell) -> Iterator[Input]:
    """The lines that can be read; of each other one is told what is wrong. Empty lines are nothing."""
    for number, line in enumerate(lines, start=1):
        text = line.removeprefix(BOM_UTF8) if number == 1 else line
        if not text.strip():
            continue
        try:
            yield Input(f"line {number}", read(text.decode().rstrip("\r\n")))
        except UnicodeDecodeError:
            complain(f"line {number}: wanted UTF-8")
        # ValueError: what a customer's own form of lines is read with.
        except (AmendsError, ValueError) as error:
            complain(f"line {number}: {error}")


class Answering:
    """Hands inputs in and tells the answers.

    Args:
        tell: gets the lines, one at a time.
        complain: gets what went wrong with an input.
        in_flight: how many may be under way at once.
    """

    def __init__(
        self,
        system: OrderSystem[Any, Any],
        kind: Runnable[Any, Any],
        tell: Tell,
        complain: Tell,
        *,
        in_flight: int,
        as_they_finish: bool,
    ) -> None:
        self.tally = Tally()
        self._system = system
        self._kind = kind
        self._tell = tell
        self._complain = complain
        self._in_flight = in_flight
        self._as_they_finish = as_they_finish
        self._free = threading.Semaphore(in_flight)
        self._told: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._nobody_listens = False

    def answer(self, inputs: Iterable[Input]) -> None:
        """Hand all inputs in, and return when the last answer is told."""
        # A daemon: whoever presses Ctrl-C does not want to wait for it.
        teller = threading.Thread(target=self._tell_all, name="answers", daemon=True)
        teller.start()
        for given in inputs:
            if self._nobody_listens:
                break
            self._ask(given)
        for _ in range(self._in_flight):
            self._take_a_turn()
        self._told.put(None)
        teller.join()

    def _ask(self, given: Input) -> None:
        self._take_a_turn()
        asked = _Asked(given, self.tally.start())
        try:
            pending = self._system.submit(given.value)
        except AmendsError as error:
            refused: Future[Any] = Future()
            refused.set_exception(error)
            pending = refused
        if not self._as_they_finish:
            self._told.put(asked)
        pending.add_done_callback(lambda answer: self._note(asked, answer))

    def _note(self, asked: _Asked, answer: "Future[Any]") -> None:
        """In a thread of the system's."""
        error = answer.exception()
        why_not = f"error: {type(error).__name__}" if error else self._kind.refused(answer.result())
        asked.took_s = self.tally.end(asked.started_s, why_not)
        asked.answer = answer
        asked.there.set()
        if self._as_they_finish:
            self._told.put(asked)
        self._free.release()

    def _take_a_turn(self) -> None:
        if not self._free.acquire(timeout=STALL_S):
            counts = self.tally.counts()
            raise Stalled(f"{counts.started} orders started, {counts.ended} ended, and no further one in {STALL_S} s")

    def _tell_all(self) -> None:
        while (asked := self._told.get()) is not None:
            asked.there.wait()
            assert asked.answer is not None  # it is there
            try:
                self._tell_one(asked, asked.answer)
            except BrokenPipeError:
                # As in `... | head`: what is under way ends, and nothing more is taken.
                self._nobody_listens = True

    def _tell_one(self, asked: _Asked, answer: "Future[Any]") -> None:
        value, error = asked.input.value, answer.exception()
        if error is None:
            self._tell(self._kind.say(value, answer.result(), asked.took_s))
            return
        self._complain(f"{asked.input.where}: {error}")
        if self._kind.turned_away is not None and isinstance(error, _NOT_TAKEN):
            self._tell(self._kind.turned_away(value))
