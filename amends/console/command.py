"""`look`: the command that shows what a journal tells; whoever has a command line of its own adds it there."""

import sys
from collections.abc import Sequence

import click
from rich.console import Console

from amends.console import journal, show
from amends.protocol.errors import AmendsError
from amends.protocol.saga import Saga

_LISTED = 20


def look_command(sagas: Sequence[type[Saga]] = ()) -> click.Command:
    """The command; with the classes of the sagas, times of steps are exact and steps not reached are shown."""

    @click.command("look")
    @click.option(
        "--journal",
        "--data",
        "data",
        required=True,
        envvar="AMENDS_JOURNAL",
        show_envvar=True,
        metavar="PLACE",
        help="The folder, the journal's file, or postgresql://user:password@host:5432/database?schema=name.",
    )
    @click.argument("key", required=False)
    def look(data: str, key: str | None) -> None:
        """Every instance of KEY, step by step; without a KEY the newest ones, and where the time goes."""
        console = Console(soft_wrap=not sys.stdout.isatty())
        try:
            if key is None:
                console.print(show.instances(journal.instances(data, limit=_LISTED)))
                console.print(show.timings(journal.timings(data, sagas=sagas)))
            else:
                _look_up(console, data, key, sagas)
        except AmendsError as error:
            raise click.ClickException(str(error)) from None

    return look


def _look_up(console: Console, data: str, key: str, sagas: Sequence[type[Saga]]) -> None:
    found = journal.instances(data, key=key)
    if not found:
        raise click.ClickException(f"no instance of any saga has the key {key!r}")
    for instance in reversed(found):
        told = journal.progress(data, saga_id=instance.saga_id, sagas=sagas)
        if told is not None:  # it may be forgotten meanwhile
            console.print(show.progress(told))
