"""The demos as programs: `python -m amends.demo`, and `crash`, `duplicates` and `audit` behind it.

So are the five order systems, by their names, which `systems.command_line` adds, and `look`, which
tells what became of an order. Every demo runs in a folder of databases and ends with an audit of
them. The folder is a temporary one, which is kept only if something is off, unless `--data` names one.
Exit status: 0 all is well, 1 something is off, 2 the command was wrong.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from click.core import ParameterSource
from rich.console import Console

from amends.console.command import look_command
from amends.demo import crash, duplicates, many
from amends.demo.faults import FaultPlan
from amends.demo.options import FOLDER, FOLDER_OR_URL, audited, fault_options, in_folder, plan_of, telling_errors
from amends.demo.screen import show_reading
from amends.demo.systems.command_line import add_systems
from amends.demo.systems.coordinator import PlaceOrder
from amends.demo.workload import Settings, Workload, workload

F = TypeVar("F", bound=Callable[..., Any])
Program = Callable[[Path, Workload], bool]

console = Console()

_COUNT = click.IntRange
_FILE = click.Path(exists=True, dir_okay=False)
_COPIES = "Where copies of the databases, and the logs, are kept; a temporary folder if not given."
_STOCK_SHARE = "Stock at the beginning, as a share of what all orders want."


def demo_options(
    orders_count: int,
    in_flight: int,
    *,
    in_flight_max: int = 9_000,
    data_help: str = "Where the databases are; a temporary folder if not given.",
    without: tuple[str, ...] = (),
) -> Callable[[F], F]:
    """The options that all demos have."""

    def decorate(command: F) -> F:
        command = fault_options(by_default=True, without=without)(command)
        options = (
            click.option("--orders-count", type=click.IntRange(1), default=orders_count, help="Orders to make up."),
            click.option("--seed", type=int, default=1, help="Decides the orders and the faults."),
            click.option(
                "--in-flight", type=click.IntRange(1, in_flight_max), default=in_flight, help="Orders at once."
            ),
            click.option("--data", type=FOLDER, help=data_help),
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


@main.command("cluster")
@demo_options(
    orders_count=600,
    in_flight=40,
    in_flight_max=90,
    data_help=_COPIES,
    without=("lost", "doubled", "delayed", "killed"),
)
@click.option("--troubles", type=click.IntRange(0), default=10, help="How often something befalls a machine.")
@click.option("--away-s", type=click.FloatRange(0.1), default=8.0, help="How long what is cut off stays away.")
@click.option("--broker", help="RabbitMQ; else AMENDS_TEST_RABBITMQ, or what answers on its local port.")
@click.option("--database", help="PostgreSQL; else AMENDS_TEST_POSTGRES, or what answers on its local port.")
@click.option("--own-servers", is_flag=True, help="Start both for this run alone, and restart them as well.")
def cluster_command(data: Path | None, **chosen: Any) -> None:
    """Nodes and services as programs over RabbitMQ and PostgreSQL, killed, paused and cut off."""
    try:
        from amends.demo.cluster import servers, story  # noqa: PLC0415 - extras
    except ImportError as error:
        raise click.UsageError(f"{error}; the cluster needs `pip install 'amends[postgres,rabbitmq]'`") from None
    if data is not None and data.exists() and any(data.iterdir()):
        raise click.UsageError(f"--data {data}: is not empty")
    if chosen["own_servers"] and (chosen["broker"] or chosen["database"]):
        raise click.UsageError("--own-servers: starts both; --broker and --database name others")
    settings = settings_of(chosen)
    more = story.Chosen(**{name: chosen[name] for name in story.Chosen.__struct_fields__})

    def program(folder: Path, work: Workload) -> bool:
        try:
            return story.run(folder, work, settings, console, more)
        except servers.ServerMissing as error:
            raise click.UsageError(str(error)) from None

    perform(data, settings, program)


@main.command("audit")
@click.option("--data", required=True, type=FOLDER_OR_URL, help="A folder, or postgresql://...?schema=shop.")
def audit_command(data: Path | str) -> None:
    """Audit the databases that a demo left, or those of a shop on a PostgreSQL server."""
    with telling_errors():
        sys.exit(0 if audited(data, console) else 1)


@main.command("worker", hidden=True)
@click.option("--data", required=True, type=FOLDER)
@click.option("--settings", required=True)
def worker_command(data: Path, settings: str) -> None:
    """Place all orders and say how many have ended; `crash` starts this and kills it."""
    crash.place_until_killed(data, msgspec.json.decode(settings, type=Settings))


def settings_of(chosen: dict[str, Any]) -> Settings:
    """The settings that the options make."""
    if (chosen["orders"] is None) != (chosen["catalogue"] is None):
        raise click.UsageError("--orders and --catalogue: real orders need both")
    return Settings(
        orders_count=chosen["orders_count"],
        seed=chosen["seed"],
        in_flight=chosen["in_flight"],
        stock_share=chosen["stock_share"],
        plan=FaultPlan(chosen["seed"]) if chosen["calm"] else plan_of(chosen),
        orders=chosen["orders"],
        catalogue=chosen["catalogue"],
    )


def perform(data: Path | None, settings: Settings, program: Program) -> None:
    """Run a demo in its folder, audit what it left, and exit."""
    with telling_errors():
        work = workload(settings)
    if work.reading is not None:
        show_reading(console, work.reading)
    in_folder(data, console, lambda folder: program(folder, work))


add_systems(main)
main.add_command(look_command(sagas=[PlaceOrder]))


if __name__ == "__main__":
    main(prog_name="python -m amends.demo")
