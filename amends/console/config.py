"""Settings of a command from a TOML file: a table with its name, and in it the names of its options.

An option on the command line beats the environment, which beats the file. What a file may say is
what the command can be told: unknown tables and keys and values of another type are refused by
name, and no value is ever quoted, since it may be a password.
"""

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

_NOT_IN_FILES = ("config", "help")


def config_option() -> Callable[[F], F]:
    """`--config FILE`, for a command whose settings may come from a file."""
    return click.option(
        "--config",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        is_eager=True,
        expose_value=False,
        callback=_read,
        help="A TOML file with a table for each command, and in it values for options that are not given otherwise.",
    )


def _read(context: click.Context, _parameter: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        # Where, but not what: the line may have a password in it.
        raise click.UsageError(f"{path}: is no TOML: {_place(error)}") from None
    tables = _commands(context)
    for name, table in content.items():
        if name not in tables:
            raise click.UsageError(f"{path}: unknown table [{name}], wanted one of {sorted(tables)}")
        _check(path, name, table, tables[name])
    context.default_map = content.get(str(context.info_name), {})


def _place(error: Exception) -> str:
    text = str(error)
    return text[text.rfind("(at ") :] if "(at " in text else "it can't be read"


def _commands(context: click.Context) -> dict[str, click.Command]:
    """All commands that take a file, so that one file may serve several."""
    group = context.parent.command if context.parent is not None else None
    if not isinstance(group, click.Group):
        return {str(context.info_name): context.command}
    return {
        name: command
        for name, command in group.commands.items()
        if any(parameter.name == "config" for parameter in command.params)
    }


def _check(path: Path, name: str, table: object, command: click.Command) -> None:
    if not isinstance(table, Mapping):
        raise click.UsageError(f"{path}: {name}: found {_kind(table)}, wanted a table [{name}]")
    known = {str(p.name): p for p in command.params if p.name not in _NOT_IN_FILES}
    for key, value in table.items():
        if key not in known:
            raise click.UsageError(f"{path}: [{name}] {key}: unknown, wanted one of {sorted(known)}")
        problem = _problem(known[key], value)
        if problem:
            raise click.UsageError(f"{path}: [{name}] {key}: {problem}")


def _problem(parameter: click.Parameter, value: object) -> str:
    if parameter.nargs == -1:
        fits = isinstance(value, list) and all(isinstance(item, str) for item in value)
        return "" if fits else f"found {_kind(value)}, wanted a list of texts"
    wanted: str = "a text"
    kinds: tuple[type, ...] = (str,)
    if isinstance(parameter.type, type(click.INT)):
        wanted, kinds = "a whole number", (int,)
    elif isinstance(parameter.type, type(click.FLOAT)):
        wanted, kinds = "a number", (int, float)
    return "" if type(value) in kinds else f"found {_kind(value)}, wanted {wanted}"


_KINDS = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "a table",
}


def _kind(value: object) -> str:
    return _KINDS.get(type(value), f"a {type(value).__name__}")
