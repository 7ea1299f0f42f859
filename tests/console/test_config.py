"""Where a command's settings come from, which of them counts, and what is refused."""

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from amends.console.config import config_option

SECRET = "hunter2"


@click.group()
def main() -> None:
    """Two commands with settings, one without."""


@main.command("other", context_settings={"auto_envvar_prefix": "AMENDS"})
@config_option()
@click.option("--size", type=float)
def other(**_: Any) -> None:
    """May stand in the same file."""


@main.command("bare")
def bare() -> None:
    """Takes no file."""


@main.command("serve", context_settings={"auto_envvar_prefix": "AMENDS"})
@click.argument("names", nargs=-1, required=True, envvar="AMENDS_NAMES")
@click.option("--broker", required=True)
@click.option("--max-open", type=click.IntRange(1), default=10, show_default=True)
@click.option("--drain-s", type=click.FloatRange(0), default=1.0, show_default=True)
@config_option()
def serve(**chosen: Any) -> None:
    """Say what was chosen."""
    click.echo(repr(chosen))


def chosen(*arguments: str, **environment: str) -> Any:
    """What the command goes by."""
    told = CliRunner().invoke(main, ["serve", *arguments], env=environment)
    assert told.exit_code == 0, told.output
    return eval(told.output)


def refused(*arguments: str, **environment: str) -> str:
    """What it says when it does nothing."""
    told = CliRunner().invoke(main, ["serve", *arguments], env=environment)
    assert told.exit_code == 2
    assert SECRET not in told.output
    return told.output


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that says everything."""
    path = tmp_path / "amends.toml"
    path.write_text(
        f'[serve]\nnames = ["a", "b"]\nbroker = "amqp://me:{SECRET}@file"\nmax_open = 3\ndrain_s = 5\n'
        "[other]\nsize = 1\n"
    )
    return path


def test_a_file_says_it_all(file: Path) -> None:
    """Arguments too; and a command needs nothing else."""
    all_of_it = {"names": ("a", "b"), "broker": f"amqp://me:{SECRET}@file", "max_open": 3, "drain_s": 5.0}
    assert chosen("--config", str(file)) == all_of_it
    assert chosen(AMENDS_CONFIG=str(file)) == all_of_it


def test_option_beats_environment_beats_file(file: Path) -> None:
    """One by one."""
    environment = {"AMENDS_CONFIG": str(file), "AMENDS_BROKER": "env", "AMENDS_MAX_OPEN": "5", "AMENDS_NAMES": "c d"}
    found = chosen("--broker", "option", **environment)
    assert found == {"names": ("c", "d"), "broker": "option", "max_open": 5, "drain_s": 5.0}
    assert chosen("e", **environment)["names"] == ("e",)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[serf]\n", "unknown table [serf], wanted one of ['other', 'serve']"),
        ("[bare]\n", "unknown table [bare]"),
        ("serve = 5\n", "serve: found a whole number, wanted a table [serve]"),
        (
            f'[serve]\nbrokr = "{SECRET}"\n',
            "[serve] brokr: unknown, wanted one of ['broker', 'drain_s', 'max_open', 'names']",
        ),
        ('[serve]\nconfig = "x"\n', "[serve] config: unknown"),
        (f'[serve]\nmax_open = "{SECRET}"\n', "[serve] max_open: found a text, wanted a whole number"),
        ("[serve]\nmax_open = true\n", "[serve] max_open: found true or false, wanted a whole number"),
        ("[serve]\nmax_open = 1.5\n", "[serve] max_open: found a number, wanted a whole number"),
        ('[serve]\ndrain_s = "1"\n', "[serve] drain_s: found a text, wanted a number"),
        ("[serve]\nbroker = 1\n", "[serve] broker: found a whole number, wanted a text"),
        ("[serve]\nbroker = 2026-01-01\n", "[serve] broker: found a date, wanted a text"),
        (f'[serve]\nnames = "{SECRET}"\n', "[serve] names: found a text, wanted a list of texts"),
        ("[serve]\nnames = [1]\n", "[serve] names: found a list, wanted a list of texts"),
        ('[other]\nsize = "large"\n', "[other] size: found a text, wanted a number"),
        (f'[serve]\nbroker = "amqp://me:{SECRET}@x\n', "is no TOML: (at line 2, column"),
        (f"[serve]\nbroker = {SECRET}\n", "is no TOML: (at line 2, column"),
    ],
)
def test_what_a_file_may_not_say(tmp_path: Path, content: str, told: str) -> None:
    """It is named, and no value is quoted."""
    path = tmp_path / "amends.toml"
    path.write_text(content)
    said = " ".join(refused("--config", str(path)).split())
    assert f"{path}: {told}" in said


def test_what_is_no_text_at_all(tmp_path: Path) -> None:
    """It is refused like any other file."""
    path = tmp_path / "amends.toml"
    path.write_bytes(b"\xff\xfe\x00")
    assert "is no TOML" in refused("--config", str(path))


def test_a_value_out_of_bounds(tmp_path: Path) -> None:
    """The bounds are the option's."""
    path = tmp_path / "amends.toml"
    path.write_text("[serve]\nmax_open = 0\n")
    assert "--max-open" in refused("a", "--broker", "x", "--config", str(path))


def test_help_shows_no_secret(file: Path) -> None:
    """Neither that of the file nor that of the environment."""
    told = CliRunner().invoke(main, ["serve", "--config", str(file), "--help"], env={"AMENDS_BROKER": SECRET})
    assert told.exit_code == 0
    assert SECRET not in told.output
