"""`amends`: services and sagas as programs of their own, joined by a broker, and a look at what they do.

What a command is told is checked before anything is touched: modules, services, sagas, addresses,
and whether the parts that are only installed on demand are there. An address may have a password
in it, so none is ever shown.
"""

import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar
from uuid import uuid4

import click
from rich.console import Console

from amends.actors.journal.store import LEASE_S
from amends.actors.service import Service
from amends.actors.system import System
from amends.console import named, plans, process, show
from amends.console.api import Api
from amends.console.brokers import broker_at
from amends.console.command import look_command
from amends.console.config import config_option
from amends.console.logs import log_to_stderr
from amends.console.web import WebServer
from amends.protocol.errors import AmendsError

F = TypeVar("F", bound=Callable[..., Any])

_ENVIRONMENT: Final = {"auto_envvar_prefix": "AMENDS"}
_HOST_MAX: Final = 60
_LEVELS: Final = ("debug", "info", "warning", "error")
_BROKER: Final = (
    "RabbitMQ, as amqp://user:password@host:5672/vhost, or a queue over PostgreSQL, as "
    "postgresql://user:password@host:5432/database?schema=queue."
)
_PLACE: Final = "a folder, or postgresql://user:password@host:5432/database?schema=name."
_HTTP: Final = "Answer /health, /ready and /status at HOST:PORT, or at PORT of this machine alone."


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="amends")
def main() -> None:
    """Durable sagas on supervised actors: their services and nodes as programs.

    Every option can also be given in the environment, as AMENDS_ and its name (AMENDS_BROKER), or in a file
    (--config), where others can't read passwords as they can on a command line.
    """


def _address(name: str, metavar: str, help_: str) -> Callable[[F], F]:
    """An option that may have a password in it: how else to give it is said, and what was given is not."""
    envvar = f"AMENDS_{name.upper()}"
    return click.option(f"--{name}", required=True, envvar=envvar, show_envvar=True, metavar=metavar, help=help_)


def _of_a_program(command: F) -> F:
    """The options that both programs have."""
    options = (
        _address("broker", "URL", _BROKER),
        click.option("--prefix", help="What the names of all queues at RabbitMQ begin with; `amends` if not given."),
        click.option(
            "--buffer",
            type=click.IntRange(1),
            default=10_000,
            show_default=True,
            help="Messages that may wait for the broker.",
        ),
        click.option("--http", metavar="[HOST:]PORT", help=_HTTP),
        click.option(
            "--drain-s",
            type=click.FloatRange(0),
            default=10.0,
            show_default=True,
            help="Seconds that a SIGTERM waits for what is open or in hand.",
        ),
        click.option("--log-level", type=click.Choice(_LEVELS), default="info", show_default=True),
        config_option(),
    )
    for option in reversed(options):
        command = option(command)
    return command


@main.command("service", context_settings=_ENVIRONMENT)
@click.argument("services", nargs=-1, required=True, metavar="MODULE:CLASS...", envvar="AMENDS_SERVICES")
@_address("database", "PLACE", f"What the services keep: {_PLACE}")
@click.option(
    "--prefetch",
    type=click.IntRange(1, 65_535),
    default=200,
    show_default=True,
    help="Commands each service may take from the broker before it has done them.",
)
@_of_a_program
def service_command(services: tuple[str, ...], database: str, http: str | None, **chosen: Any) -> None:
    """Serve services to the nodes that run sagas, until SIGTERM.

    A CLASS is a Service, a spec of one (PAYMENT = Payment.spec(...)), or a function that returns one.
    """
    with _telling_errors():
        broker = broker_at(chosen["broker"], chosen["prefix"], buffer=chosen["buffer"], prefetch=chosen["prefetch"])
        system = System(database, sagas=[], services=named.services_of(services), broker=broker)
        _run("service", system, Api(system), http, chosen)


@main.command("node", context_settings=_ENVIRONMENT)
@click.argument("modules", nargs=-1, required=True, metavar="MODULE...", envvar="AMENDS_MODULES")
@_address("journal", "PLACE", f"What becomes of every instance: {_PLACE}")
@click.option("--name", default="", help="This node's name, which no other one may have; a new one if not given.")
@click.option(
    "--lease-s",
    type=click.FloatRange(0.5),
    default=LEASE_S,
    show_default=True,
    help="Seconds it may be away from the journal before other nodes go on with what it has.",
)
@click.option(
    "--max-open",
    type=click.IntRange(1),
    default=10_000,
    show_default=True,
    help="Instances that may be open at once; more are refused.",
)
@_of_a_program
def node_command(
    modules: tuple[str, ...], journal: str, name: str, lease_s: float, max_open: int, http: str | None, **chosen: Any
) -> None:
    """Run the sagas of some modules, whose services are elsewhere, until SIGTERM.

    A module's sagas are those it defines, or those it lists in SAGAS.
    """
    with _telling_errors():
        found = named.sagas_of(modules)
        elsewhere: list[type[Service] | str] = [*found.services, *found.unseen]
        broker = broker_at(chosen["broker"], chosen["prefix"], buffer=chosen["buffer"])
        system = System(
            journal,
            sagas=found.sagas,
            services=[],
            max_open=max_open,
            # A system without one has its journal to itself.
            node=name or f"{socket.gethostname()[:_HOST_MAX]}-{uuid4().hex}",
            lease_s=lease_s,
            broker=broker,
            elsewhere=elsewhere,
        )
        _run("node", system, Api(system, found.sagas), http, chosen)


@main.command("plans", context_settings=_ENVIRONMENT)
@click.argument("modules", nargs=-1, required=True, metavar="MODULE...", envvar="AMENDS_MODULES")
@_address("journal", "PLACE", f"What the nodes write: {_PLACE}")
@config_option()
def plans_command(modules: tuple[str, ...], journal: str) -> None:
    """Say whether a node with these modules could go on with what is open.

    Exit status 1 if instances of its sagas began with other steps, or with a version that it does not have. It only
    reads, beside running nodes or without any.
    """
    with _telling_errors():
        found = plans.plans(journal, named.sagas_of(modules).sagas)
        Console(soft_wrap=not sys.stdout.isatty()).print(show.plans(found))
    if any(use.is_left for use in found):
        raise click.ClickException(
            "some would be left where they are; give a saga whose steps have changed another version, and keep its "
            "old class beside it until nothing of that is open"
        )


main.add_command(look_command())


def _run(program: str, system: System, api: Api, http: str | None, chosen: dict[str, Any]) -> None:
    web = WebServer(http, api) if http else None
    log_to_stderr(chosen["log_level"])
    process.run(program, system, api, web, chosen["drain_s"])


@contextmanager
def _telling_errors() -> Iterator[None]:
    """An error that was foreseen is a sentence for the person, not a traceback."""
    try:
        yield
    except AmendsError as error:
        raise click.ClickException(str(error)) from None
