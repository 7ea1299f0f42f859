"""What processes and their children use, read from /proc."""

import os
from collections.abc import Iterable
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def tree(roots: Iterable[int]) -> list[int]:
    """The processes and all that descend from them."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (fields := _stat(int(folder.name))):
            children.setdefault(int(fields[1]), []).append(int(folder.name))
    found = list(dict.fromkeys(roots))
    for pid in found:
        found += [child for child in children.get(pid, []) if child not in found]
    return found


def group(leader: int) -> list[int]:
    """The processes of a group, those among them that have lost their parent, too."""
    pids = [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]
    return [pid for pid in pids if _stat(pid)[2:3] == [str(leader)]]


def is_alive(pid: int) -> bool:
    """Whether it still runs; one that nobody has waited for yet does not."""
    return _stat(pid)[:1] not in ([], ["Z"], ["X"])


def cpu_s(roots: Iterable[int]) -> float:
    """Processor time that they have used so far, with their children that have ended."""
    return sum(sum(map(int, fields[11:15])) for pid in tree(roots) if (fields := _stat(pid))) / _TICKS


def memory_mib(roots: Iterable[int]) -> float:
    """What they have in memory now; of what several share, as PostgreSQL's do, each has its part."""
    return sum(map(_pss_kib, tree(roots))) / 1024


def _stat(pid: int) -> list[str]:
    """The fields after the name, from the state on; empty if the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def _pss_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
