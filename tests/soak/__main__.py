"""python -m tests.soak --minutes N: look for trouble for as long as asked, and say what was looked at.

Every failure is made as small as can be and saved as a file, which `--replay FILE` runs again.
"""

import argparse
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final

from amends.testing.recording import replay
from tests.soak import work
from tests.soak.coverage import missed
from tests.soak.work import Tally

KINDS: Final[tuple[Callable[[int], Tally], ...]] = (
    work.random_sagas,
    work.pairs,
    work.random_sagas,
    work.random_shops,
    work.clusters,
    work.real_trouble,
)
"""What is done in turn; each has seeds of its own."""

_SAY_EVERY_S: Final = 60.0


def main() -> int:
    """Exit status 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python3 run.py soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="how long (30)")
    parser.add_argument("--seed", type=int, default=0, help="where the seeds of random work begin (0)")
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count(), help="processes (one a core)")
    parser.add_argument("--out", type=Path, default=Path("soak-failures"), help="where failures are saved")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run a saved failure again, and nothing else")
    asked = parser.parse_args()
    if asked.replay is not None:
        print(replay(asked.replay).trace)
        return 0
    tally = soak(asked.minutes * 60.0, asked.seed, asked.jobs, asked.out)
    print(report(tally, asked.minutes))
    return 1 if tally.failures or tally.problems else 0


def soak(seconds: float, seed: int, jobs: int, out: Path) -> Tally:
    """Keep every process at work until the time is up, and say what is found as it is."""
    until_s = time.monotonic() + seconds
    said_s = time.monotonic()
    total = Tally()
    # Fresh processes: what is forked from one with threads may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        todo = _todo(seed)
        running: set[Future[Tally]] = {pool.submit(next(todo)) for _ in range(jobs)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for piece in done:
                total.add(found := piece.result())
                tell(found, out, len(total.failures) - len(found.failures))
                if time.monotonic() < until_s:
                    running.add(pool.submit(next(todo)))
            if time.monotonic() - said_s > _SAY_EVERY_S:
                said_s = time.monotonic()
                print(f"{max(0.0, until_s - said_s) / 60:5.1f} min left, {_totals(total)}", flush=True)
    return total


def tell(found: Tally, out: Path, number: int) -> None:
    """Save what can be run again, and print all of it."""
    for place, failure in enumerate(found.failures, start=number):
        path = out / f"found-{place}.json"
        failure.save(path)
        print(f"\nFOUND, saved as {path}:\n{failure.found}", flush=True)
    for problem in found.problems:
        print(f"\nFOUND in {problem}", flush=True)


def _todo(seed: int) -> Iterator[Callable[[], Tally]]:
    for number in count():
        for place, kind in enumerate(KINDS):
            # A kind that stands twice gets seeds of its own each time; pairs are counted through from the first.
            base = 0 if kind is work.pairs else seed
            yield partial(work.done, kind, base + number * KINDS.count(kind) + KINDS[:place].count(kind))


def _totals(tally: Tally) -> str:
    rate = tally.steps / tally.seconds if tally.seconds else 0.0
    tries = ", ".join(f"{count} {kind}" for kind, count in sorted(tally.tries.items()))
    return (
        f"{tally.histories} histories, {tally.steps} steps, {rate:.0f} steps/s a process"
        f"{', ' + tries if tries else ''}, {len(tally.failures) + len(tally.problems)} found"
    )


def report(tally: Tally, minutes: float) -> str:
    """What was looked at, and what never came up."""
    lines = [f"{minutes} min: {_totals(tally)}", "", "fates met:"]
    lines += [f"  {fate:14} {number}" for fate, number in sorted(tally.fates.items())]
    lines += ["", f"transitions of the machine: {len(tally.transitions)} kinds met; never met, by state:"]
    for (where, status), events in missed(tally.transitions).items():
        if events:
            lines.append(f"  {where}, {status or 'any step'}: {', '.join(events)}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
