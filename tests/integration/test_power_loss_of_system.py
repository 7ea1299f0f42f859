"""The power of a whole system is cut, all its files at one moment: what it had told its callers is so, and stays so."""

import shutil
from pathlib import Path
from threading import Lock

from amends import Handle
from tests.actors.trip import LONG_S, BookTrip, Trip, all_or_nothing, rows_of
from tests.integration.power_loss import Image, Recorder, images, moments, recording
from tests.integration.program import names, system_of

TRIPS = 15


class Promises:
    """What callers have heard: that a trip is accepted, and later how it ended.

    Attributes:
        made: (name, state) in order; the state is empty for one that is only accepted.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.made: list[tuple[str, str]] = []
        self._recorder = recorder
        self._lock = Lock()

    def add(self, name: str, state: str = "") -> None:
        with self._lock:
            self.made.append((name, state))
            self._recorder.acknowledge(len(self.made))

    def add_outcome(self, handle: Handle) -> None:
        """As soon as there is one."""
        handle.add_done_callback(lambda future: self.add(handle.key, type(future.result()).__name__.lower()))


def check_power_loss_of_system(folder: Path, count: int, seed: int) -> list[str]:
    """Book trips, cut the power `count` times, and let another system go on from each image; the problems."""
    folder.mkdir(exist_ok=True)
    with recording() as recorder:
        promises = Promises(recorder)
        with system_of(folder / "recorded") as system:
            for name in names(TRIPS):
                handle = system.start(BookTrip, Trip(name), key=name)
                promises.add(name)
                promises.add_outcome(handle)
            system.drain(LONG_S)
    problems = []
    for image in images(recorder.events, moments(recorder.events, count, seed), seed):
        image.write(folder / "image")
        problems += [f"{image.label}: {problem}" for problem in _go_on(folder / "image", image, promises)]
        shutil.rmtree(folder / "image")
    return problems


def _go_on(folder: Path, image: Image, promises: Promises) -> list[str]:
    with system_of(folder) as system:
        system.drain(LONG_S)
    states = dict(rows_of(folder / "journal.db", "select key, state from instances"))
    lost = [
        f"{name} was promised to be {state or 'accepted'}, and is {states.get(name)}"
        for name, state in promises.made[: image.promised]
        if name not in states or state not in ("", states[name])
    ]
    return lost + all_or_nothing(folder, sorted(states))


def test_what_callers_were_told_outlives_a_power_cut(tmp_path: Path) -> None:
    """Every accepted trip ends, an outcome that was told stands, and all services agree with it."""
    assert check_power_loss_of_system(tmp_path, 30, seed=1) == []


def test_a_drain_of_a_system_that_has_nothing_open(tmp_path: Path) -> None:
    """It returns, also when it comes right after the opening."""
    for number in range(5):
        with system_of(tmp_path / str(number)) as system:
            system.drain(timeout_s=1.0)
