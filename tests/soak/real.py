"""What simulation can't see, in pieces for a soak: real kills, power cuts, flipped bits, damaged input, threads."""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from tests.integration.bit_flips import FOUND, check_bit_flips
from tests.integration.crash_rounds import kill_at_random
from tests.integration.full_disks import check_full_journal, check_full_service
from tests.integration.fuzzing import fuzz
from tests.integration.real_threads import RUNTIMES, begin_while_told, end_while_told, hasty, same_keys, tell_and_ask
from tests.integration.test_power_loss import check_power_loss, check_power_loss_of_service
from tests.integration.test_power_loss_of_system import check_power_loss_of_system

Piece = Callable[[Path, int, Counter[str]], Iterator[str]]
"""Does some of it in a folder, counts what it tried, and tells what did not hold."""


def kills(folder: Path, seed: int, tries: Counter[str]) -> Iterator[str]:
    """SIGKILL, at any moment and at named points."""
    for played in kill_at_random(folder, 100, seed):
        tries["SIGKILLs"] += sum(played.reached)
        if played.problems:
            yield str(played)


def power_cuts(folder: Path, seed: int, tries: Counter[str]) -> Iterator[str]:
    """Disk images as a power cut may leave them."""
    for check in (check_power_loss, check_power_loss_of_service):
        tries["power cuts"] += 200
        yield from check(folder / check.__name__, 200, seed).problems
    tries["power cuts"] += 20
    yield from check_power_loss_of_system(folder / "system", 20, seed)


def flips(folder: Path, seed: int, tries: Counter[str]) -> Iterator[str]:
    """Single bits of a journal."""
    tries["bit flips"] += 300
    findings = check_bit_flips(folder, 300, seed)
    for kind in findings.kinds:
        if kind not in FOUND:
            yield f"{kind}: {findings.flips[kind][:3]}"


def damaged_input(folder: Path, seed: int, tries: Counter[str]) -> Iterator[str]:
    """Bytes that nobody has written like this."""
    tries["damaged inputs"] += 50_000
    yield from fuzz(50_000, seed, folder)


def threads(folder: Path, seed: int, tries: Counter[str]) -> Iterator[str]:
    """Real threads that take turns as often as they can."""
    with hasty():
        for name, new_runtime in RUNTIMES.items():
            tries["scenes of threads"] += 3
            yield from _held(name, partial(tell_and_ask, new_runtime, senders=4, messages=500, kills=10))
            yield from _held(name, partial(begin_while_told, new_runtime, rounds=30, messages=30))
            yield from _held(name, partial(end_while_told, new_runtime, rounds=30, messages=30))
        tries["scenes of threads"] += 1
        yield from _held("system", partial(same_keys, folder, callers=8, keys=10, seed=seed))


def full_disks(folder: Path, seed: int, tries: Counter[str]) -> Iterator[str]:
    """Disks of many sizes."""
    tries["full disks"] += 26
    yield from check_full_journal(folder / "journal", 20).problems
    yield from check_full_service(folder / "seats", "seats", 6).problems


PIECES: Final[tuple[Piece, ...]] = (kills, power_cuts, kills, flips, kills, damaged_input, kills, threads, full_disks)
"""In turn; kills are what the rest of the file can say least about."""


def trouble(seed: int) -> tuple[Counter[str], list[str]]:
    """One piece: what was tried, and what did not hold."""
    piece = PIECES[seed % len(PIECES)]
    tries: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        problems = [f"{piece.__name__}, seed {seed}: {problem}" for problem in piece(Path(name), seed, tries)]
    return tries, problems


def _held(name: str, scene: Callable[[], object]) -> Iterator[str]:
    try:
        scene()
    except Exception as error:  # noqa: BLE001 - whatever it is, the scene did not hold
        yield f"{name}: {type(error).__name__}: {error}"
