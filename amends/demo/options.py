"""What the programs' command lines have in common: faults by share, a folder, an audit at the end, errors as sentences.

Exit status: 0 all is well, 1 something is off, 2 the command was wrong.
"""

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
from rich.console import Console

from amends import AmendsError
from amends.demo.audit import audit
from amends.demo.faults import FaultPlan
from amends.demo.screen import show_audit

F = TypeVar("F", bound=Callable[..., Any])

SHARE = click.FloatRange(0.0, 1.0)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


class FolderOrUrl(click.Path):
    """A folder, or the URL of a PostgreSQL database."""

    name = "folder or url"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Any:
        return value if "://" in str(value) else super().convert(value, param, context)


FOLDER_OR_URL = FolderOrUrl(file_okay=False, path_type=Path)

FAULTS = {
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


def fault_options(*, by_default: bool, without: tuple[str, ...] = ()) -> Callable[[F], F]:
    """An option for each kind of fault; without any of them there are the usual faults, or none."""

    def decorate(command: F) -> F:
        for name, (share, what) in reversed(FAULTS.items()):
            if name not in without:
                default = share if by_default else 0.0
                option = click.option(f"--{name}-share", type=SHARE, default=default, help=f"Share of {what}.")
                command = option(command)
        return command

    return decorate


def plan_of(chosen: Mapping[str, Any]) -> FaultPlan:
    """The faults that the options make."""
    names = [name.replace("-", "_") for name in FAULTS]
    return FaultPlan(chosen["seed"], **{name: chosen.get(f"{name}_share", 0.0) for name in names})


def in_folder(
    data: Path | None, console: Console, program: Callable[[Path], bool], *, in_short: bool = False
) -> NoReturn:
    """Run a program, audit the folder it worked in, and exit; a temporary folder is kept only if something is off.

    Args:
        in_short: an audit that finds nothing is told in a line.
    """
    with telling_errors():
        folder = data or Path(tempfile.mkdtemp(prefix="amends-demo-"))
        good = False
        try:
            good = program(folder)
            good = audited(folder, console, in_short=in_short) and good
        finally:
            if data is None and (good or not any(folder.iterdir())):
                shutil.rmtree(folder)
            else:
                console.print(f"the databases are in {folder}", highlight=False, soft_wrap=True)
    sys.exit(0 if good else 1)


def audited(place: Path | str, console: Console, *, in_short: bool = False) -> bool:
    """Audit a folder, or what a URL names, and show the result: whether nothing was found."""
    findings = audit(place)
    clean = not any(finding.rows for finding in findings)
    if clean and in_short:
        console.print(f"audit, read from the databases: {len(findings)} checks, all ok", highlight=False)
    else:
        show_audit(console, findings)
    return clean


@contextmanager
def telling_errors() -> Iterator[None]:
    """An error that was foreseen is a sentence for the person, not a traceback."""
    try:
        yield
    except AmendsError as error:
        raise click.ClickException(str(error)) from None
