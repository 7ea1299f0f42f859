"""The lines that need no environment of their own run, and are audited, as the comparison runs them."""

import random
import shutil
from collections import Counter
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from bench.peers import environments, with_amends, with_rows
from bench.peers.compare import QUICK, compare, crash, measure
from bench.peers.drive import Place
from bench.peers.flow import Flow
from bench.peers.lines import LINES, Line
from bench.peers.work import SCHEMAS

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
    not_here, ran = found["lines"]
    assert not_here["cells"] == []
    assert not_here["problems"] == ["can't be installed: npm is not found; install your system's package `npm`"]
    assert [cell["in_flight"] for cell in ran["cells"]] == [1, 5]


def test_the_floor_writes_the_rows_that_amends_does(tmp_path: Path) -> None:
    """As many of each kind, and as large, but for the digits of times."""
    written = []
    for module in (with_amends, with_rows):
        place = Place(str(tmp_path / module.__name__), str(tmp_path / module.__name__ / "databases"))
        Path(place.databases).mkdir(parents=True)
        peer = module.open_peer(place)
        peer.run(Flow("o", 60.0, 60.0, count=20), in_flight=5)
        peer.close()
        written.append(rows_in(Path(place.databases)))
    by_amends, alone = written
    assert by_amends.keys() == alone.keys()
    for kind, (count, size) in by_amends.items():
        assert (kind, alone[kind][0]) == (kind, count)
        assert alone[kind][1] == pytest.approx(size, rel=0.03)


def rows_in(folder: Path) -> dict[str, tuple[int, int]]:
    """How many rows of each kind are in the journal and the fences, and how many characters in all."""
    kinds = {
        "journal": "select type, body from records union all select state, key from instances",
        **dict.fromkeys(SCHEMAS, "select step || ' ' || state, payload || answer from amends_fence"),
    }
    found: Counter[str] = Counter()
    size: Counter[str] = Counter()
    for name, query in kinds.items():
        with closing(apsw.Connection(str(folder / f"{name}.db"))) as connection:
            for kind, text in connection.execute(query):
                found[f"{name}: {kind}"] += 1
                size[f"{name}: {kind}"] += len(str(text))
    return {kind: (count, size[kind]) for kind, count in found.items()}
