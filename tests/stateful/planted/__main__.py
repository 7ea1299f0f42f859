"""The table of planted bugs, as markdown: `python -m tests.stateful.planted`."""

from statistics import median
from typing import Final

from tests.stateful.planted import BUGS, Bug
from tests.stateful.planted.campaign import FIRST_SEED, Found, find, smallest

RANGES: Final = 5
APART: Final = 10_000
"""How far the seed ranges are from each other."""

_HEAD: Final = """\
| bug | what is wrong | histories to find | seconds | deviations | steps |
|---|---|---:|---:|---:|---:|"""


def line(bug: Bug) -> str:
    """How long it takes to find one, and the smallest history that shows it."""
    ranges = [find(bug, FIRST_SEED + number * APART, bug.budget) for number in range(RANGES)]
    found = sorted((f for f in ranges if f is not None), key=lambda f: f.histories)
    if not found:
        return f"| {bug.name} | {bug.what} | > {bug.budget} | | | |"
    histories = median([f.histories if isinstance(f, Found) else float("inf") for f in ranges])
    wanted = f"> {bug.budget}" if histories == float("inf") else f"{histories:.0f}"
    seconds = median([f.seconds for f in found])
    schedule, steps = smallest(bug, found[0])
    return f"| {bug.name} | {bug.what} | {wanted} | {seconds:.2f} | {len(schedule.deviations)} | {steps} |"


if __name__ == "__main__":
    print(_HEAD)  # noqa: T201 - a program, for a person
    for planted in BUGS.values():
        print(line(planted), flush=True)  # noqa: T201 - as above
