"""Trips, one after the other or many at a time, in one process: what engine and database cost, and little else."""

import time
from collections import deque
from pathlib import Path

from amends import Handle, System
from bench.trip import SERVICES, BookTrip, Trip
from bench.work import Stopwatch, Timing

_WARM_UP = 100


def in_files(folder: Path, in_flight: int, count: int) -> Timing:
    """Run `count` trips, `in_flight` at a time."""
    return measure(folder, "all in files", in_flight, count)


def measure(place: Path | str, what: str, in_flight: int, count: int) -> Timing:
    """The same anywhere."""
    with System(place, sagas=[BookTrip], services=list(SERVICES.values())) as system:
        _run(system, "warm-up", in_flight, _WARM_UP, Stopwatch())
        watch = Stopwatch()
        _run(system, "trip", in_flight, count, watch)
        return watch.timing(what, in_flight)


def _run(system: System, name: str, in_flight: int, count: int, watch: Stopwatch) -> None:
    under_way: deque[tuple[float, Handle]] = deque()

    def end_first() -> None:
        began_s, handle = under_way.popleft()
        handle.result()
        watch.latencies_s.append(time.perf_counter() - began_s)

    for number in range(count):
        if len(under_way) >= in_flight:
            end_first()
        key = f"{name}-{number}"
        under_way.append((time.perf_counter(), system.submit(BookTrip, Trip(key, number), key=key)))
    while under_way:
        end_first()
