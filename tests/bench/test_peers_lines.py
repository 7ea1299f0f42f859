"""The lines that need no environment of their own run, and are audited, as the comparison runs them."""

import random
import shutil
from pathlib import Path

import pytest

from bench.peers import environments
from bench.peers.compare import QUICK, compare, crash, measure
from bench.peers.lines import LINES, Line

TINY = QUICK._replace(levels=(1, 5), seconds=0.05, drain_s=20.0, kills=1)
OWN = [line for line in LINES if not line.environment and not line.on_postgres]


@pytest.mark.parametrize("line", OWN, ids=lambda line: line.name)
def test_a_line_runs_and_its_audit_is_clean(line: Line) -> None:
    """Or `measure` raises."""
    cells = measure(line, TINY)
    assert [cell["in_flight"] for cell in cells] == [1, 5]
    assert all(cell["sagas"] and cell["cut"] == 0 and cell["memory_mib"] for cell in cells)


def test_amends_loses_and_doubles_nothing_when_it_is_killed() -> None:
    """Everything accepted has ended after the next start."""
    found = crash(OWN[0], TINY, random.Random(1))
    assert (found["lost"], found["half_done"], found["doubled"], found["repeated"]) == (0, 0, 0, 0)
    assert found["accepted"] <= found["completed"] + found["compensated"]
    assert found["finish_s"] is not None


def test_a_peer_that_cannot_be_had_is_told_and_the_rest_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With the reason, beside the figures of the others."""
    monkeypatch.setattr(environments, "ENVIRONMENTS", tmp_path)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    missing = Line("not here", "with_restate", server="restate")
    found = compare(TINY, lambda _: None, (missing, OWN[1]._replace(crash=False)))
    not_here, by_hand = found["lines"]
    assert not_here["cells"] == []
    assert not_here["problems"] == ["can't be installed: npm is not found; install your system's package `npm`"]
    assert [cell["in_flight"] for cell in by_hand["cells"]] == [1, 5]
