"""Rounds of kills: a program is killed, perhaps again while it recovers, then left to finish, and looked at.

Whatever the kills, in the end every trip is fully done or not at all, what was accepted is
there under the id it was accepted with, and no outcome or cancel that was told is taken back.
"""

import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import msgspec

from tests.actors.trip import SERVICES, all_or_nothing, rows_of
from tests.integration.children import ROOT
from tests.integration.crash_points import POINTS
from tests.integration.crash_program import COMPLAINED, NAMES, SAID, Request

AT_ONCE = 2
RUN_S_MAX = 0.08
"""Random kills come this soon after a program's start, about as long as it runs where disks are quick."""

# What a recovery needs to find: trips at every stage, some decided.
PREPARE = ("decided back on disk, undo not sent", 2)

Kill = tuple[str, int] | float
"""A point and which time it is reached, or seconds after the program's start."""


class Killer:
    """The program that forks the processes to be killed."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.integration.crash_program"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )

    def run(self, request: Request) -> int:
        """Run one process to its end: its exit status."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(request) + b"\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """Ask for nothing more."""
        self._process.communicate()


@dataclass(frozen=True)
class Round:
    """What became of one folder.

    Attributes:
        reached: of each kill, whether it came before the program's own end.
        problems: what does not hold; empty if all does.
    """

    kills: tuple[Kill, ...]
    reached: list[bool] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"kills {self.kills}: {self.problems}"


def play(killer: Killer, folder: Path, kills: Sequence[Kill]) -> Round:
    """Kill the program each time, one after the other on the same folder; then let it finish, and look."""
    played = Round(tuple(kills))
    for kill in kills:
        point, k, after_s = ("", 1, kill) if isinstance(kill, float) else (*kill, None)
        status = killer.run(Request(str(folder), "work", point, k, after_s))
        played.reached.append(status == -signal.SIGKILL)
        if status not in (0, -signal.SIGKILL):
            played.problems.append(f"{kill}: ended with status {status}")
        played.problems.extend(f"{kill}: {problem}" for problem in written_too_late(folder))
    before = _said(folder)
    status = killer.run(Request(str(folder), "finish"))
    if status != 0:
        played.problems.append(f"the last one ended with status {status}")
    played.problems.extend(problems(folder, before, _said(folder)[len(before) :]))
    return played


def written_too_late(folder: Path) -> list[str]:
    """What was done or told before the record it depends on was on disk; looked at in a copy, right after a kill."""
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        for path in folder.glob("*.db*"):
            if not path.name.endswith("-shm"):
                shutil.copy(path, copy)
        return [*_acts_undecided(copy), *_told_unended(folder, copy)]


def _acts_undecided(copy: Path) -> list[str]:
    """Effects of a direction that the journal does not know of."""
    query = (
        "select i.key, r.body from instances i join records r using (saga_id) where r.type = 'decided' order by i.key"
    )
    decided = {(key, json.loads(body)["direction"]) for key, body in _rows(copy / "journal.db", query)}
    acts = [(w, n) for s in SERVICES for w, n in _rows(copy / f"{s}.db", "select what, name from effects")]
    directions = {"ticket": "forward", "free seat": "back", "give back fare": "back"}
    return [
        f"{what} of {name} happened before it was decided on disk"
        for what, name in acts
        if what in directions and (name, directions[what]) not in decided
    ]


def _told_unended(folder: Path, copy: Path) -> list[str]:
    ended = dict(_rows(copy / "journal.db", "select key, state from instances"))
    return [
        f"{said[1]} was told to be {said[2]}, the disk had {ended.get(said[1])}"
        for said in _said(folder)
        if said[0] == "told" and ended.get(said[1]) != said[2]
    ]


def _rows(path: Path, query: str) -> list[Any]:
    """What a query finds; nothing in a database that has no tables yet."""
    if not path.exists():
        return []
    try:
        return rows_of(path, query)
    except apsw.SQLError:
        return []


def problems(folder: Path, before: list[list[str]], after: list[list[str]]) -> list[str]:
    """What does not hold of a folder, given what killed programs had said, and the one that finished."""
    found = all_or_nothing(folder, NAMES)
    rows = rows_of(folder / "journal.db", "select key, saga_id, state from instances")
    ids, states = {key: saga_id for key, saga_id, _ in rows}, {key: state for key, _, state in rows}
    for said in (before, after):
        for word, name, *rest in said:
            if word == "accepted" and ids.get(name) != rest[0]:
                found.append(f"{name} was accepted as {rest[0]}, the journal has {ids.get(name)}")
            if word == "told" and states.get(name) != rest[0]:
                found.append(f"{name} was told to be {rest[0]}, the journal has {states.get(name)}")
            if word == "cancel" and rest == ["accepted"] and states.get(name) != "compensated":
                found.append(f"{name}: its cancel was accepted, the journal has {states.get(name)}")
    if [said[1:] for said in after if said[0] == "left"] != [["0", "0", "0"]]:
        found.append(f"after the recovery: {[said for said in after if said[0] == 'left']}, wanted nothing left over")
    if {said[1] for said in after if said[0] == "told"} != set(NAMES):
        found.append("the last one did not tell every outcome")
    complained = folder / COMPLAINED
    if complained.exists() and complained.stat().st_size:
        found.append(complained.read_text())
    return found


def _said(folder: Path) -> list[list[str]]:
    path = folder / SAID
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


@contextmanager
def killers() -> Iterator[list[Killer]]:
    """As many as run at once."""
    with ExitStack() as stack:
        several = [Killer() for _ in range(AT_ONCE)]
        for killer in several:
            stack.callback(killer.close)
        yield several


def play_all(folder: Path, plans: Iterable[Sequence[Kill]]) -> list[Round]:
    """Play these rounds, some at once, each in a folder of its own that stays if something does not hold."""
    with killers() as several, ThreadPoolExecutor(AT_ONCE) as pool:
        free = list(several)

        def one(plan: Sequence[Kill]) -> Round:
            killer = free.pop()
            own = Path(tempfile.mkdtemp(dir=folder))
            try:
                played = play(killer, own, plan)
            finally:
                free.append(killer)
            if not played.problems:
                shutil.rmtree(own)
            return played

        return list(pool.map(one, plans))


def at_every_point(folder: Path, ks: Iterable[int]) -> list[Round]:
    """Kill at every point, the k-th time it is reached and, in the next process, once more."""
    plans = [[*([PREPARE] if point.recovery else []), (point.name, k), (point.name, k)] for k in ks for point in POINTS]
    return play_all(folder, plans)


def kill_at_random(folder: Path, kills: int, seed: int) -> list[Round]:
    """Kill at random moments and points, up to three times before a program may finish; every round is looked at."""
    chance = random.Random(seed)
    plans: list[list[Kill]] = []
    while kills > 0:
        plan: list[Kill] = [_random_kill(chance) for _ in range(min(kills, chance.randint(1, 3)))]
        kills -= len(plan)
        plans.append(plan)
    return play_all(folder, plans)


def _random_kill(chance: random.Random) -> Kill:
    if chance.random() < 0.5:
        return chance.uniform(0.0, RUN_S_MAX)
    # Early occurrences are the likely ones to exist, late ones hit a program in full swing.
    return chance.choice(POINTS).name, int(chance.paretovariate(0.8))
