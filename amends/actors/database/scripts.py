"""Scripts: what makes and changes a database's tables, in the dialect that its database speaks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

from amends.protocol.errors import HandlerError, StorageError

Dialect = Literal["sqlite", "postgres"]

DIALECTS: tuple[str, ...] = get_args(Dialect)

Migrations = Mapping[str, tuple[str, ...]]
"""The scripts of one owner of tables, in order, by dialect."""

Scripts = Mapping[str, Migrations]
"""Those of all owners of tables in one database."""


def sql_files(folder: str | Path) -> tuple[str, ...]:
    """The scripts `0001_*.sql`, `0002_*.sql` ... of a folder, in order; StorageError if a number is missing."""
    paths = sorted(Path(folder).glob("*.sql"))
    for number, path in enumerate(paths, start=1):
        if path.name.split("_")[0] != f"{number:04}":
            raise StorageError(f"{path}: wanted a name that begins with {number:04}_")
    if not paths:
        raise StorageError(f"{folder}: no *.sql file, wanted 0001_*.sql at least")
    return tuple(path.read_text(encoding="utf-8") for path in paths)


def by_dialect(owner: str, given: Sequence[str] | Mapping[str, Sequence[str]]) -> Migrations:
    """One sequence is for every dialect, a mapping has a sequence for each of some; HandlerError if it is neither."""
    if not isinstance(given, Mapping):
        return dict.fromkeys(DIALECTS, _checked(owner, given))
    unknown = [dialect for dialect in given if dialect not in DIALECTS]
    if unknown:
        raise HandlerError(f"{owner}: migrations for {unknown}, wanted some of {list(DIALECTS)}")
    return {dialect: _checked(owner, scripts) for dialect, scripts in given.items()}


def _checked(owner: str, scripts: Sequence[str]) -> tuple[str, ...]:
    if isinstance(scripts, str):
        raise HandlerError(f"{owner}: migrations are {scripts[:40]!r}, wanted a sequence of scripts")
    return tuple(scripts)


def in_dialect(name: str, scripts: Scripts, dialect: Dialect) -> dict[str, tuple[str, ...]]:
    """Each owner's scripts in one dialect, or StorageError; `name` is what the error calls the database."""
    for owner, migrations in scripts.items():
        if dialect not in migrations:
            raise StorageError(f"{name}: {owner} has migrations for {sorted(migrations)} only, wanted {dialect!r}")
    return {owner: migrations[dialect] for owner, migrations in scripts.items()}
