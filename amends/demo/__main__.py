"""The demos as programs: `python -m amends.demo`, and `crash`, `duplicates` and `audit` behind it.

Every demo runs in a folder of databases and ends with an audit of them. The folder is a
temporary one, which is kept only if something is off, unless `--data` names one.
Exit status: 0 all is well, 1 something is off, 2 the command was wrong.
"""

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from click.core import ParameterSource
from rich.console import Console

from amends import AmendsError
from amends.demo import crash, duplicates, many
from amends.demo.audit import audit
from amends.demo.faults import FaultPlan
from amends.demo.screen import show_audit, show_reading
from amends.demo.workload import Settings, Workload, workload

F = TypeVar("F", bound=Callable[..., Any])
Program = Callable[[Path, Workload], bool]

console = Console()

_SHARE = click.FloatRange(0.0, 1.0)
_FILE = click.Path(exists=True, dir_okay=False)
_FOLDER = click.Path(file_okay=False, path_type=Path)
_STOCK_SHARE = "Stock at the beginning, as a share of what all orders want."

_FAULTS = {
    "declined": (0.03, "orders whose payment is declined"),
    "short-stock": (0.02, "orders that find an empty shelf (besides those that really do)"),
    "bad-address": (0.02, "orders whose address is no good"),
    "raises": (0.01, "handler calls that raise"),
    "hangs": (0.0002, "handler calls that hang"),
    "lost": (0.003, "messages that are lost"),
    "doubled": (0.01, "messages that come twice"),
    "delayed": (0.01, "messages that come late"),
    "killed": (0.003, "orders beside which an actor is killed"),
}


def demo_options(orders_count: int, in_flight: int) -> Callable[[F], F]:
    """The options that all demos have."""

    def decorate(command: F) -> F:
        for name, (share, what) in reversed(_FAULTS.items()):
            command = click.option(f"--{name}-share", type=_SHARE, default=share, help=f"Share of {what}.")(command)
        options = (
            click.option("--orders-count", type=click.IntRange(1), default=orders_count, help="Orders to make up."),
            click.option("--seed", type=int, default=1, help="Decides the orders and the faults."),
            click.option("--in-flight", type=click.IntRange(1, 9_000), default=in_flight, help="Orders at once."),
            click.option("--data", type=_FOLDER, help="Where the databases are; a temporary folder if not given."),
            click.option("--orders", type=_FILE, help="Real orders, as JSON lines, plain or gzipped."),
            click.option("--catalogue", type=_FILE, help="The items they are about, as JSON lines."),
            click.option("--stock-share", type=click.FloatRange(0.0), default=0.95, help=_STOCK_SHARE),
            click.option("--calm", is_flag=True, help="No faults, whatever the shares say."),
        )
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@click.group(invoke_without_command=True, context_settings={"show_default": True})
@demo_options(orders_count=2_000, in_flight=100)
@click.pass_context
def main(context: click.Context, /, data: Path | None, **chosen: Any) -> None:
    """Many orders at once, under faults, and an audit at the end."""
    if context.invoked_subcommand is not None:
        given = [name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
        if given:
            raise click.UsageError(f"--{given[0].replace('_', '-')}: options go behind {context.invoked_subcommand!r}")
        return
    settings = settings_of(chosen)
    perform(data, settings, lambda folder, work: many.run(folder, work, settings, console))


@main.command("crash")
@demo_options(orders_count=1_000, in_flight=50)
@click.option("--kills", type=click.IntRange(0), default=20, help="How often to kill the program.")
def crash_command(data: Path | None, kills: int, **chosen: Any) -> None:
    """The program is killed in the middle of work, again and again."""
    settings = settings_of(chosen)
    perform(data, settings, lambda folder, work: crash.run(folder, work, settings, console, kills=kills))


@main.command("duplicates")
@demo_options(orders_count=1_000, in_flight=200)
@click.option("--copies", type=click.IntRange(2, 50), default=4, help="How often to hand each order in.")
def duplicates_command(data: Path | None, copies: int, **chosen: Any) -> None:
    """Every order is handed in several times at once."""
    settings = settings_of(chosen)
    perform(data, settings, lambda folder, work: duplicates.run(folder, work, settings, console, copies=copies))


@main.command("audit")
@click.option("--data", required=True, type=_FOLDER)
def audit_command(data: Path) -> None:
    """Audit the databases that a demo left."""
    with telling_errors():
        sys.exit(0 if audited(data) else 1)


@main.command("worker", hidden=True)
@click.option("--data", required=True, type=_FOLDER)
@click.option("--settings", required=True)
def worker_command(data: Path, settings: str) -> None:
    """Place all orders and say how many have ended; `crash` starts this and kills it."""
    crash.place_until_killed(data, msgspec.json.decode(settings, type=Settings))


def settings_of(chosen: dict[str, Any]) -> Settings:
    """The settings that the options make."""
    if (chosen["orders"] is None) != (chosen["catalogue"] is None):
        raise click.UsageError("--orders and --catalogue: real orders need both")
    shares = {name.replace("-", "_"): chosen[f"{name.replace('-', '_')}_share"] for name in _FAULTS}
    return Settings(
        orders_count=chosen["orders_count"],
        seed=chosen["seed"],
        in_flight=chosen["in_flight"],
        stock_share=chosen["stock_share"],
        plan=FaultPlan(chosen["seed"], **({} if chosen["calm"] else shares)),
        orders=chosen["orders"],
        catalogue=chosen["catalogue"],
    )


def perform(data: Path | None, settings: Settings, program: Program) -> None:
    """Run a demo in its folder, audit what it left, and exit."""
    with telling_errors():
        work = workload(settings)
        if work.reading is not None:
            show_reading(console, work.reading)
        folder = data or Path(tempfile.mkdtemp(prefix="amends-demo-"))
        good = False
        try:
            good = program(folder, work)
            good = audited(folder) and good
        finally:
            if good and data is None:
                shutil.rmtree(folder)
            else:
                console.print(f"the databases are in {folder}", highlight=False, soft_wrap=True)
        sys.exit(0 if good else 1)


def audited(folder: Path) -> bool:
    """Audit a folder and show the result: whether nothing was found."""
    findings = audit(folder)
    show_audit(console, findings)
    return not any(finding.rows for finding in findings)


@contextmanager
def telling_errors() -> Iterator[None]:
    """An error that was foreseen is a sentence for the person, not a traceback."""
    try:
        yield
    except AmendsError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main(prog_name="python -m amends.demo")
