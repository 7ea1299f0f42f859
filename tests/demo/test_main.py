"""The command line: what it refuses, what it returns, and what it leaves behind."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from amends.demo.__main__ import main

FEW = ["--orders-count", "10", "--calm"]


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.mark.parametrize("command", [[], ["duplicates"]])
def test_a_demo_that_goes_well_leaves_nothing_behind(temporary: Path, command: list[str]) -> None:
    """Exit status 0, and the temporary folder is gone."""
    result = CliRunner().invoke(main, [*command, *FEW])
    assert result.exit_code == 0, result.output
    assert "WRONG" not in result.output
    assert list(temporary.iterdir()) == []


def test_a_folder_that_was_named_is_kept_and_can_be_audited(tmp_path: Path) -> None:
    """When nothing runs any more."""
    folder = tmp_path / "data"
    assert CliRunner().invoke(main, [*FEW, "--data", str(folder)]).exit_code == 0
    assert CliRunner().invoke(main, ["audit", "--data", str(folder)]).exit_code == 0
    (folder / "journal.db").unlink()
    result = CliRunner().invoke(main, ["audit", "--data", str(folder)])
    assert result.exit_code == 1
    assert "journal.db" in result.output


def test_a_demo_whose_audit_finds_something_fails_and_keeps_the_databases(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit status 1, the rows, and the place to look."""
    monkeypatch.setattr("amends.demo.audit.CHECKS", (lambda _: [{"order_id": "o-7"}],))
    result = CliRunner().invoke(main, FEW)
    assert result.exit_code == 1
    assert "order_id=o-7" in result.output
    (kept,) = temporary.iterdir()
    assert str(kept) in result.output.replace("\n", "")


def test_real_orders_are_read_run_and_accounted_for(tmp_path: Path) -> None:
    """A file of two orders and a cancellation."""
    orders, catalogue = tmp_path / "orders.jsonl", tmp_path / "catalogue.jsonl"
    line = {
        "user_id": 7,
        "items": [{"item_id": "A", "quantity": 3, "unit_price": "2.55"}],
        "payment_info": {"method": "account", "account": "7"},
        "shipping_address": {"country": "France"},
    }
    orders.write_text("\n".join(json.dumps({"order_id": order_id, **line}) for order_id in ("1", "2", "C3")))
    catalogue.write_text(json.dumps({"item_id": "A", "description": "", "unit_price": "2.55", "units_sold": 6}))
    files = ["--orders", str(orders), "--catalogue", str(catalogue)]
    result = CliRunner().invoke(main, [*files, "--stock-share", "0.5", "--calm"])
    assert result.exit_code == 0, result.output
    assert "3 lines: 2 orders, 1 refused" in result.output
    assert "line 3: order C3" in result.output
    assert "not completed: short_stock 1" in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seed", "2", "crash"], "--seed: options go behind 'crash'"),
        (["--orders", __file__], "real orders need both"),
        (["--orders", __file__, "--catalogue", "/no/such/file"], "does not exist"),
        (["--declined-share", "1.5"], "1.5 is not in the range"),
        (["crash", "--kills", "-1"], "-1 is not in the range"),
    ],
)
def test_a_wrong_command_is_refused(arguments: list[str], said: str) -> None:
    """Exit status 2 and a sentence that says why."""
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert said in result.output


def test_a_catalogue_that_can_not_be_read_is_an_error_that_names_it(tmp_path: Path) -> None:
    """A sentence and no traceback."""
    catalogue = tmp_path / "catalogue.jsonl"
    catalogue.write_text("?")
    result = CliRunner().invoke(main, ["--orders", str(catalogue), "--catalogue", str(catalogue)])
    assert result.exit_code == 1
    assert "catalogue.jsonl: line 1" in result.output
