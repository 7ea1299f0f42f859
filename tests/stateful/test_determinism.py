"""The same seed gives the same trace, byte for byte, in any process."""

import os
import subprocess
import sys
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from random import Random

from amends.testing import Schedule
from tests.soak.scenarios import random_saga, saga, shop
from tests.stateful.histories import plan_of

ROOT = Path(__file__).parents[2]
SEEDS = range(40)


def digest() -> str:
    """Of all traces and schedules of these seeds: sagas of random shape, and the shop."""
    found = sha256()
    for seed in SEEDS:
        schedule = Schedule(seed=seed, faults=plan_of(seed))
        arguments = random_saga(Random(seed))
        for system in (saga(schedule, **arguments), shop(schedule, orders=3)):
            found.update(system.trace.encode())
            found.update(system.schedule.to_json().encode())
    return found.hexdigest()


def test_another_process_sees_the_same() -> None:
    """Also one that hashes strings in another way."""
    program = [sys.executable, "-c", "from tests.stateful.test_determinism import digest; print(digest())"]
    with ExitStack() as running:
        others = {
            hash_seed: running.enter_context(
                subprocess.Popen(
                    program,
                    cwd=ROOT,
                    env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for hash_seed in ("0", "4711")
        }
        here = digest()
        for hash_seed, other in others.items():
            assert other.communicate()[0].strip() == here, f"PYTHONHASHSEED={hash_seed}"


def test_what_was_recorded_gives_the_same_trace() -> None:
    """A schedule without a seed says all that the seed said."""
    for seed in SEEDS:
        arguments = random_saga(Random(seed))
        drawn = saga(Schedule(seed=seed, faults=plan_of(seed)), **arguments)
        again = saga(Schedule.from_json(drawn.schedule.to_json()), **arguments)
        assert again.trace == drawn.trace, f"seed {seed}"
