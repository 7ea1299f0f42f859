"""The comparison: every line measured in turn, round after round, then traced, then killed again and again."""

import importlib.metadata
import os
import platform
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from bench.peers import environments, report, servers
from bench.peers.databases import audit_of
from bench.peers.environments import CannotInstall
from bench.peers.lines import LINES, Line
from bench.peers.stage import Failed, Stage
from bench.peers.work import Audit


class Effort(NamedTuple):
    """How much is done.

    Attributes:
        levels: sagas in flight.
        seconds: how long a cell begins new sagas.
        drain_s, drain_each_s: how long those that are open then may take, and more for each in flight.
        traced_s: the same for the run that counts forces to the disk.
        kills: of the crash test.
        finish_s: how long after the last one a line may take.
        quiet_s: how long nothing may change before it counts as finished for good.
    """

    rounds: int = 3
    levels: tuple[int, ...] = (1, 10, 100, 1_000)
    seconds: float = 3.0
    drain_s: float = 4.0
    drain_each_s: float = 0.006
    traced_s: float = 0.5
    kills: int = 20
    finish_s: float = 60.0
    quiet_s: float = 25.0

    def cell_s(self, in_flight: int) -> float:
        """How long a cell takes at most."""
        return self.seconds + self.drain_s + in_flight * self.drain_each_s


QUICK = Effort(1, (1, 100), 0.5, 2.0, traced_s=0.2, kills=2, finish_s=20.0, quiet_s=11.0)

_CRASH_IN_FLIGHT = 20
_START_S = 60.0
_ALIVE_S = (0.05, 0.8)
"""How long a process may work before it is killed, after it has opened."""


def compare(effort: Effort, say: Callable[[str], object], lines: tuple[Line, ...] = LINES) -> dict[str, Any]:
    """Everything, as plain values for JSON."""
    load_before = os.getloadavg()[0]
    usable, found = _usable(lines, say)
    for number in range(effort.rounds):
        for line in usable:
            say(f"round {number + 1} of {effort.rounds}: {line.name}")
            _into(found[line.name], "cells", partial(measure, line, effort))
    for line in usable:
        say(f"forces to the disk: {line.name}")
        _into(found[line.name], "syncs", partial(trace, line, effort))
    for line in usable:
        if line.crash:
            say(f"{effort.kills} kills: {line.name}")
            _into(found[line.name], "crash", partial(crash, line, effort, random.Random(1)))
    return {
        "machine": {
            "at": datetime.now(UTC).isoformat(timespec="minutes"),
            "system": platform.platform(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "load_before": load_before,
            "load_after": os.getloadavg()[0],
        },
        "effort": effort._asdict(),
        "lines": [_summary(line, found[line.name]) for line in lines],
    }


def _usable(lines: tuple[Line, ...], say: Callable[[str], object]) -> tuple[list[Line], dict[str, dict[str, Any]]]:
    """Those whose environments are there or can be made, and a place for what is found of each."""
    usable: list[Line] = []
    found: dict[str, dict[str, Any]] = {}
    for line in lines:
        say(f"environment: {line.name}")
        found[line.name] = {"cells": [], "syncs": [], "crash": [], "problems": []}
        try:
            environments.python_of(line.environment)
            if line.server == "restate":
                environments.restate_server()
        except CannotInstall as error:
            found[line.name]["problems"].append(f"can't be installed: {error}")
            continue
        usable.append(line)
    return usable, found


def _into(found: dict[str, Any], what: str, do: Callable[[], Any]) -> None:
    try:
        found[what].append(do())
    except (Failed, OSError, subprocess.SubprocessError) as error:
        found["problems"].append(f"{what}: {error}")


def measure(line: Line, effort: Effort) -> list[dict[str, Any]]:
    """One round of a line: a cell for each level, in one process, and the audit of all that."""
    with Stage(line) as stage:
        cells, cut = _cells(stage, effort, effort.seconds)
        stage.kill_driver()
        audit = audit_of(stage.databases)
    if audit.doubled or audit.lost or audit.half_done > cut:
        raise Failed(f"the audit says {audit._asdict()}, with {cut} cut off")
    return cells


def trace(line: Line, effort: Effort) -> list[dict[str, Any]]:
    """Forces to the disk for each saga, level by level; None where some were cut off."""
    if shutil.which("strace") is None:
        raise Failed("strace is not found; install your system's package `strace`")
    counted = []
    with Stage(line, traced=True) as stage:
        cells, _ = _cells(stage, effort, effort.traced_s)
        for cell in cells:
            syncs = stage.syncs(cell["began_at"], cell["ended_at"])
            whole = cell["sagas"] and not cell["cut"]
            counted.append({"in_flight": cell["in_flight"], "per_saga": syncs / cell["sagas"] if whole else None})
    return counted


def _cells(stage: Stage, effort: Effort, seconds: float) -> tuple[list[dict[str, Any]], int]:
    """The cells, and how many sagas were cut off in all."""
    stage.drive(
        "measure",
        levels=effort.levels,
        seconds=seconds,
        drain_s=effort.drain_s,
        drain_each_s=effort.drain_each_s,
        servers=stage.server_pids,
    )
    cells: list[dict[str, Any]] = []
    cut = 0
    for event in stage.events(_START_S + 2 * sum(map(effort.cell_s, effort.levels))):
        cut += event.get("cut", 0)
        if event["event"] == "done":
            break
        if event["event"] == "cell":
            cells.append({**event, "memory_mib": stage.memory_mib, "load": os.getloadavg()[0]})
    return cells, cut


def crash(line: Line, effort: Effort, chance: random.Random) -> dict[str, Any]:
    """Kill it again and again while it works, start it a last time, and see what has become of the orders."""
    with Stage(line) as stage:
        ledger = stage.folder / "accepted"
        for number in range(effort.kills):
            stage.drive("crash", prefix=f"k{number}", in_flight=_CRASH_IN_FLIGHT, ledger=str(ledger))
            next(stage.events(_START_S))
            time.sleep(chance.uniform(*_ALIVE_S))
            stage.kill_driver()
            killed_s = time.monotonic()
            # A server goes down too every other time, and the last.
            if stage.server is not None and (chance.random() < 0.5 or number == effort.kills - 1):
                stage.server.kill()
                stage.start_server()
        stage.drive("finish")
        next(stage.events(_START_S))
        accepted = ledger.read_text(encoding="utf-8").split() if ledger.exists() else []
        audit, finished_s = _until_quiet(stage, accepted, effort)
        return {
            "kills": effort.kills,
            "accepted": len(accepted),
            **audit._asdict(),
            "finish_s": finished_s - killed_s if not (audit.half_done or audit.lost) else None,
        }


def _until_quiet(stage: Stage, accepted: list[str], effort: Effort) -> tuple[Audit, float]:
    """The last audit, and when it was first what it is: nothing is open, or nothing changes any more."""
    began_s = changed_s = time.monotonic()
    audit = audit_of(stage.databases, accepted)
    while audit.half_done or audit.lost:
        now_s = time.monotonic()
        if now_s - changed_s > effort.quiet_s or now_s - began_s > effort.finish_s:
            break
        time.sleep(0.1)
        before, audit = audit, audit_of(stage.databases, accepted)
        if audit != before:
            changed_s = time.monotonic()
    return audit, changed_s


def _summary(line: Line, found: dict[str, Any]) -> dict[str, Any]:
    """Medians over the rounds."""
    rounds = found["cells"]
    cells = [_median_cell([one[index] for one in rounds]) for index in range(min(map(len, rounds), default=0))]
    for cell in cells:
        counted = [one for one in (found["syncs"] or [[]])[0] if one["in_flight"] == cell["in_flight"]]
        cell["syncs_per_saga"] = counted[0]["per_saga"] if counted else None
    return {
        "name": line.name,
        "settings": line.settings,
        "versions": _versions(line),
        "on_postgres": line.on_postgres,
        "cells": cells,
        "crash": (found["crash"] or [None])[0],
        "problems": found["problems"],
    }


def _versions(line: Line) -> dict[str, str]:
    own = {"amends": importlib.metadata.version("amends")} if line.module == "with_amends" else {}
    on_server = {"PostgreSQL": servers.postgres_version()} if line.on_postgres else {}
    return {**own, **environments.versions(line.environment, line.server), **on_server}


def _median_cell(cells: list[dict[str, Any]]) -> dict[str, Any]:
    def median(name: str) -> float:
        return float(statistics.median(cell[name] for cell in cells))

    # What was spent on sagas that were cut off is nobody's.
    used = [cell["cpu_s"] / cell["sagas"] * 1e6 for cell in cells if cell["sagas"] and not cell["cut"]]
    return {
        "in_flight": cells[0]["in_flight"],
        "sagas": sum(cell["sagas"] for cell in cells),
        "cut": sum(cell["cut"] for cell in cells),
        **{name: median(name) for name in ("rate", "p50_ms", "p99_ms", "load")},
        "p50_least": any(cell["p50_least"] for cell in cells),
        "p99_least": any(cell["p99_least"] for cell in cells),
        "cpu_us": statistics.median(used) if used else None,
        "memory_mib": max(cell["memory_mib"] for cell in cells),
    }


def main(quick: bool, json_path: Path | None) -> None:
    """Measure, and write what was found to a file or standard output, and, but for a quick look, into the docs."""
    # Or the servers would outlive us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    figures = compare(QUICK if quick else Effort(), lambda text: print(text, file=sys.stderr, flush=True))
    report.write(figures, json_path, None if quick else report.PAGE)
