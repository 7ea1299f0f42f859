"""Imports point one way, and only the places that put a system together name an adapter.

Read from the source, so what a module imports for its types or inside a function counts too.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LAYERS: dict[str, set[str]] = {
    "protocol": set(),
    "supervisor": {"protocol"},
    "actors": {"protocol", "supervisor"},
    # The names `import amends` offers; nothing below may go round through them.
    "": {"protocol", "supervisor", "actors"},
    "testing": {"protocol", "supervisor", "actors", ""},
    "console": {"protocol", "supervisor", "actors", ""},
    "demo": {"protocol", "supervisor", "actors", "", "testing", "console"},
}
"""Each part of the package, and whom it may import beside itself."""

ADAPTERS = {
    "amends.actors.journal.damage",
    "amends.actors.journal.leases",
    "amends.actors.journal.memory",
    "amends.actors.journal.postgres",
    "amends.actors.journal.remains",
    "amends.actors.journal.salvage",
    "amends.actors.journal.sqlite",
    "amends.actors.storage.folder",
    "amends.actors.storage.postgres",
    "amends.actors.transport.in_process",
    "amends.actors.transport.postgres",
    "amends.actors.transport.rabbitmq",
    "amends.supervisor.runtimes.pool",
    "amends.supervisor.runtimes.threads",
}
"""What a port may be plugged into; one adapter may be made of another that stands beside it."""

NO_ADAPTERS = {
    "amends.actors.journal.journal",
    "amends.actors.journal.messages",
    "amends.actors.journal.pending",
    "amends.actors.journal.relay",
    "amends.actors.journal.sharing",
    "amends.actors.journal.store",
    "amends.actors.storage.port",
    "amends.actors.transport.buffer",
    "amends.actors.transport.counters",
    "amends.actors.transport.port",
    "amends.actors.transport.taking",
    "amends.actors.transport.wire",
}
"""What else stands in their folders: the ports, what is said at them, and what adapters share."""

ROOTS = ("amends.actors.system", "amends.testing", "amends.console", "amends.demo")
"""Where systems are put together."""

IMPURE = {"asyncio", "logging", "os", "pathlib", "pykka", "random", "socket", "structlog", "threading", "time"}
"""What `protocol` has no use for: it is values and rules."""

NEEDED = {"amends.protocol.codec": {"threading"}}
"""But for what another library makes necessary; the reason stands there."""


def modules() -> dict[str, Path]:
    """Every module of the package, by its name."""
    paths = sorted((ROOT / "amends").rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    return dict(zip(names, paths, strict=True))


MODULES = modules()


def imports(name: str) -> set[str]:
    """All that a module imports; for `from a import b` both `a` and `a.b`, which may be a module."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}, line {node.lineno}: a relative import hides where it leads"
            found.add(node.module or "")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def part(name: str) -> str:
    """The part of the package a module belongs to; "" is the package's own names."""
    names = name.split(".")
    return names[1] if len(names) > 1 and names[1] in LAYERS else ""


def within(name: str, package: str) -> bool:
    """Whether a module is that package or below it."""
    return name == package or name.startswith(f"{package}.")


def test_every_part_of_the_package_has_its_place() -> None:
    """A new folder or module at the top has to be given one here."""
    assert {name.split(".")[1] for name in MODULES if "." in name} <= set(LAYERS)


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_one_way(name: str) -> None:
    """From what knows more to what knows less."""
    ours = {part(found) for found in imports(name) if within(found, "amends")}
    allowed = LAYERS[part(name)] | {part(name)}
    assert ours <= allowed, f"{name} belongs to {part(name)!r} and imports from {sorted(ours - allowed)}"


@pytest.mark.parametrize("name", MODULES)
def test_only_the_places_that_put_systems_together_name_an_adapter(name: str) -> None:
    """Everybody else knows the port."""
    if any(within(name, home) for home in (*ADAPTERS, *ROOTS)):
        return
    named = {found for found in imports(name) if any(within(found, adapter) for adapter in ADAPTERS)}
    assert not named, f"{name} names {sorted(named)}; it is for {', '.join(ROOTS)} to choose"


@pytest.mark.parametrize("name", [name for name in MODULES if part(name) == "protocol"])
def test_what_is_said_needs_no_world(name: str) -> None:
    """No thread, no clock, no chance, no file and no logger in `protocol`."""
    found = {found.split(".")[0] for found in imports(name)} & IMPURE - NEEDED.get(name, set())
    assert not found, f"{name} imports {sorted(found)}"


def test_every_adapter_is_known_here() -> None:
    """One that is missing above could be named by anybody."""
    folders = (
        "amends.actors.journal",
        "amends.actors.storage",
        "amends.actors.transport",
        "amends.supervisor.runtimes",
    )
    inside = {name for name in MODULES for folder in folders if name.startswith(f"{folder}.")}
    assert {".".join(name.split(".")[:4]) for name in inside} - NO_ADAPTERS <= ADAPTERS
