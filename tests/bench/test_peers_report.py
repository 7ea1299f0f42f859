"""The page and the chart of the comparison: what was measured stands where it belongs, and nothing else changes."""

from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest

from bench.peers import chart, report
from bench.peers.flow import quantile

CELL: dict[str, Any] = {
    "in_flight": 10,
    "sagas": 300,
    "cut": 0,
    "rate": 1234.5,
    "p50_ms": 2.5,
    "p99_ms": 30.0,
    "cpu_us": 900.0,
}
CELL |= {"p50_least": False, "p99_least": False, "memory_mib": 40.0, "syncs_per_saga": None}
CRASH: dict[str, Any] = {
    "kills": 20,
    "accepted": 90,
    "completed": 80,
    "compensated": 9,
    "lost": 1,
    "half_done": 0,
    "doubled": 0,
}


def figures(**cell: Any) -> dict[str, Any]:
    """As `compare` has them: one line that ran and one that could not be installed."""
    ran: dict[str, Any] = {"name": "one", "settings": "its defaults", "versions": {"one": "1.2"}, "problems": []}
    ran |= {"on_postgres": False}
    ran |= {"cells": [CELL | cell], "crash": CRASH | {"repeated": 3, "finish_s": None}}
    missing: dict[str, Any] = {
        "name": "two",
        "settings": "",
        "on_postgres": False,
        "versions": {},
        "problems": ["can't be installed: no"],
        "cells": [],
    }
    machine: dict[str, Any] = {"at": "2026-11-26T22:00+00:00", "system": "Linux", "cores": 2, "python": "3.11"}
    return {
        "machine": machine | {"load_before": 0.1, "load_after": 2.0},
        "effort": {"levels": (10,), "rounds": 1, "seconds": 1.0, "drain_s": 2.0, "drain_each_s": 0.0},
        "lines": [ran, missing | {"crash": None}],
    }


def test_only_what_is_between_the_markers_changes() -> None:
    """The words around the figures are written by people."""
    page = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    assert report.between(page, "new\n") == f"before\n{report.BEGIN}\n\nnew\n\n{report.END}\nafter\n"


def test_a_page_without_markers_is_left_alone() -> None:
    """Rather an error than figures in the wrong place."""
    with pytest.raises(ValueError, match="found no"):
        report.between("a page", "new\n")


def test_the_docs_have_the_markers() -> None:
    """Or the command would find nowhere to write after twenty minutes."""
    assert "new" in report.between(report.PAGE.read_text(encoding="utf-8"), "new")


def test_the_tables_tell_what_was_found() -> None:
    """Figures of a line that ran, and why another one did not."""
    said = report.markdown(figures())
    assert "| one | 1,234 |" in said
    assert "| one | 2.5 / 30 |" in said
    assert "| one | 20 | 90 | 80 | 9 | 1 | 0 | 0 | 3 | never |" in said
    assert "- two: can't be installed: no" in said


def test_each_line_is_beside_amends_on_the_same_kind_of_database() -> None:
    """Of whoever runs fewer sagas, and takes longer for one, it tells how much."""
    found = figures()
    one, two = found["lines"]
    ours = one | {"name": "amends", "cells": [CELL | {"rate": 148_140.0, "p50_ms": 0.625}]}
    on_server = one | {"name": "amends, PostgreSQL", "on_postgres": True, "cells": [CELL | {"rate": 1.0}]}
    said = report.markdown(found | {"lines": [ours, one, two, on_server]})
    assert "| one | 120 | 4 |" in said
    assert "| two | - | - |" in said
    assert "| amends" not in said[said.index("How many times") : said.index("Milliseconds")]


def test_what_was_cut_off_is_told() -> None:
    """A time that is only a lower bound is not told as if it were the time."""
    said = report.markdown(figures(cut=7, p99_least=True))
    assert "| one | 1,234 (7 cut) |" in said
    assert "| one | 2.5 / ≥ 30 |" in said


def test_a_quantile_among_those_cut_off_is_a_lower_bound() -> None:
    """And one below them is exact."""
    took = [(1.0, False), (2.0, False), (3.0, True), (4.0, True)]
    assert quantile(took, 0.5) == (2.0, False)
    assert quantile(took, 0.99) == (4.0, True)


def test_the_chart_has_a_dot_for_each_value_and_more_is_further_right() -> None:
    """Well-formed, with what a name may contain."""
    drawn = ElementTree.fromstring(
        chart.dots("A & B", "a second", ["1", "10"], [("x < y", [3, 40]), ("z", [None, 500])])
    )
    circles = [element for element in drawn.iter() if element.tag.endswith("circle") and len(element)]
    assert [element[0].text for element in circles] == ["x < y, 1: 3", "x < y, 10: 40", "z, 10: 500"]
    assert all(float(left.get("cx", 0)) < float(right.get("cx", 0)) for left, right in pairwise(circles))
