"""`python -m bench`: every figure the project states, as JSON and as a table.

Each measurement runs in a process of its own, several times, amends and the program written
by hand in turn, so that a machine that gets slower does so for both. What counts are the
medians and their ratios.
"""

import importlib
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from bench import baseline, disk, sagas, scale, systems, trips
from bench.slow_disk import SlowDisk
from bench.work import python_loop_ns

# Sagas per measurement, by number in flight; enough for a second or so of each.
_AMENDS = {1: 300, 10: 1_500, 100: 4_000, 1_000: 6_000}
_BY_HAND = {1: 300, 10: 600, 100: 800, 1_000: 1_500}

_SLOW_MS = 2.0


def _module(name: str) -> Any:
    """One that needs the extras."""
    return importlib.import_module(f"bench.{name}")


def _on_postgres(name: str) -> Callable[..., Any]:
    def measure(*arguments: Any) -> Any:
        return getattr(_module("postgres"), name)(*arguments)

    return measure


_MEASURES: dict[str, Callable[..., Any]] = {
    "amends": sagas.measure,
    "by hand": baseline.measure,
    "disk": disk.measure,
    "waiting": scale.waiting,
    "recovery": scale.recovery,
    "aging": scale.aging,
    "commits to postgres": _on_postgres("commits"),
    "commits to a file": _on_postgres("commits_to_file"),
    "journal in postgres": _on_postgres("measure"),
    "trips on postgres": _on_postgres("trips"),
    "trips in files": trips.in_files,
    **systems.MEASURES,
}

# Batches per measurement of a journal's store, by records in each.
_BATCHES = {1: 5_000, 100: 500}

# Trips per measurement, by number in flight.
_TRIPS = {1: 500, 100: 4_000}

# Orders per measurement of an order system, by number in flight.
_ORDERS = {1: 300, 100: 3_000}
_REAL_ORDERS = 5_000
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group(invoke_without_command=True)
@click.option("--runs", default=5, show_default=True, help="Times each speed is measured.")
@click.option("--quick", is_flag=True, help="Small counts and two runs: to see that it works.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Where to write the figures.")
@click.option("--cluster", is_flag=True, help="Nodes and services as processes, over RabbitMQ and PostgreSQL, instead.")
@click.option("--peers", is_flag=True, help="amends beside what others offer, instead; see docs/performance.md.")
@click.pass_context
def main(context: click.Context, runs: int, *, quick: bool, json_path: Path | None, cluster: bool, peers: bool) -> None:
    """Measure everything in one process, or with --cluster what goes beyond it, or with --peers others beside it."""
    if context.invoked_subcommand is not None:
        return
    if peers:
        _module("peers.compare").main(quick, json_path)
    else:
        measure_all = _module("cluster").measure_all if cluster else _measure_all
        measure_all(2 if quick else runs, 20 if quick else 1, json_path)


@main.command("systems")
@click.option("--runs", default=3, show_default=True, help="Times each is measured.")
@click.option("--quick", is_flag=True, help="Small counts and one run: to see that it works.")
@click.option("--orders", type=_FILE, help="Real orders, for the stream; with --catalogue.")
@click.option("--catalogue", type=_FILE, help="The items they are about.")
def systems_command(runs: int, *, quick: bool, orders: Path | None, catalogue: Path | None) -> None:
    """The five order systems, with no faults."""
    if (orders is None) != (catalogue is None):
        raise click.UsageError("--orders and --catalogue: real orders need both")
    runs, smaller = (1, 20) if quick else (runs, 1)
    table = Table(title="The five order systems")
    for column in ("system", "in flight", "orders", "orders/s", "p50 ms", "p99 ms", "CPU us/order"):
        table.add_column(column, justify="left" if column == "system" else "right")
    for name in systems.MEASURES:
        for in_flight, count in _ORDERS.items():
            measured = _medians([_one(name, in_flight, max(in_flight, count // smaller)) for _ in range(runs)])
            _add_row(table, name, measured)
    if orders is not None and catalogue is not None:
        for in_flight in _ORDERS:
            with tempfile.TemporaryDirectory(prefix="amends-bench-") as folder:
                timing = systems.real_stream(Path(folder), orders, catalogue, in_flight, _REAL_ORDERS // smaller)
            _add_row(table, "stream, real orders", msgspec.to_builtins(timing))
    Console().print(table)


@main.command("postgres")
@click.option("--runs", default=3, show_default=True, help="Times each is measured.")
@click.option("--quick", is_flag=True, help="Small counts and one run: to see that it works.")
def postgres_command(runs: int, *, quick: bool) -> None:
    """The journal on a PostgreSQL server, beside one in a file.

    The server is the one that AMENDS_BENCH_POSTGRES names, or that of this machine.
    """
    runs, smaller = (1, 20) if quick else (runs, 1)
    console = Console()
    for rows, count in _BATCHES.items():
        for what in ("commits to postgres", "commits to a file"):
            found = _medians([_one(what, rows, count // smaller) for _ in range(runs)])
            console.print(f"{what}: {found['rate']:,.0f}/s of {rows} record(s), {found['rows_rate']:,.0f} records/s")
    table = Table(title="The shop's saga, its services in files")
    for column in ("journal", "in flight", "sagas", "sagas/s", "p50 ms", "p99 ms", "CPU us/saga"):
        table.add_column(column, justify="left" if column == "journal" else "right")
    for in_flight, count in _AMENDS.items():
        sagas_each = max(in_flight, count // smaller)
        pairs = [
            (_one("journal in postgres", in_flight, sagas_each), _one("amends", in_flight, sagas_each))
            for _ in range(runs)
        ]
        _add_row(table, "PostgreSQL", _medians([on_server for on_server, _ in pairs]))
        _add_row(table, "SQLite", _medians([in_file for _, in_file in pairs]))
    console.print(table)
    _compare_trips(console, runs, smaller)


def _compare_trips(console: Console, runs: int, smaller: int) -> None:
    """Everything on the server beside everything in files, run by run, and the ratio of the two."""
    table = Table(title="A trip in three steps, all on PostgreSQL or all in files")
    for column in ("databases", "in flight", "sagas", "sagas/s", "p50 ms", "p99 ms", "CPU us/saga"):
        table.add_column(column, justify="left" if column == "databases" else "right")
    ratios = {}
    for in_flight, count in _TRIPS.items():
        sagas_each = max(in_flight, count // smaller)
        pairs = [
            (_one("trips on postgres", in_flight, sagas_each), _one("trips in files", in_flight, sagas_each))
            for _ in range(runs)
        ]
        _add_row(table, "PostgreSQL", _medians([on_server for on_server, _ in pairs]))
        _add_row(table, "SQLite", _medians([in_files for _, in_files in pairs]))
        ratios[in_flight] = statistics.median(on_server["rate"] / in_files["rate"] for on_server, in_files in pairs)
    console.print(table)
    for in_flight, ratio in ratios.items():
        console.print(f"{in_flight} in flight: {ratio:.0%} of the rate in files, the median of {runs} pairs of runs")


def _add_row(table: Table, name: str, measured: dict[str, Any]) -> None:
    figures = (f"{measured['rate']:,.0f}", f"{measured['p50_ms']:.1f}", f"{measured['p99_ms']:.1f}")
    table.add_row(name, str(measured["in_flight"]), f"{measured['sagas']:,}", *figures, f"{measured['cpu_us']:,.0f}")


@main.command(hidden=True)
@click.argument("what")
@click.argument("numbers", nargs=-1, type=int)
@click.option("--sync-ms", type=float, default=0.0, help="What every sync of the disk takes longer.")
def one(what: str, numbers: tuple[int, ...], sync_ms: float) -> None:
    """One measurement, in this process, as JSON."""
    slow_disk = SlowDisk(sync_ms) if sync_ms else None
    with tempfile.TemporaryDirectory(prefix="amends-bench-") as folder:
        sys.stdout.write(msgspec.json.encode(_MEASURES[what](Path(folder), *numbers)).decode() + "\n")
    del slow_disk


def _measure_all(runs: int, smaller: int, json_path: Path | None) -> None:
    console = Console(stderr=True)
    speeds = [_speed(in_flight, runs, smaller, console) for in_flight in _AMENDS]
    slow_speeds = [_speed(in_flight, min(runs, 3), 2 * smaller, console, _SLOW_MS) for in_flight in _AMENDS]
    commits = [_medians([_one("disk", rows, 2_000 // smaller) for _ in range(runs)]) for rows in (1, 100)]
    console.print("instances waiting, recovered, and an old journal ...")
    figures = {
        "machine": {
            "python": platform.python_version(),
            "system": platform.platform(),
            "python_loop_ns": python_loop_ns(),
        },
        "runs": runs,
        "speed": speeds,
        "slow_disk_ms": _SLOW_MS,
        "speed_on_a_slow_disk": slow_speeds,
        "disk": commits,
        "waiting": _one("waiting", 100_000 // smaller),
        "recovery": _one("recovery", 10_000 // smaller),
        "aging": _one("aging", 1_000_000 // smaller, 3_000 // smaller),
    }
    _show(figures)
    text = json.dumps(figures, indent=2)
    if json_path is None:
        click.echo(text)
    else:
        json_path.write_text(text + "\n", encoding="utf-8")


def _speed(in_flight: int, runs: int, smaller: int, console: Console, sync_ms: float = 0.0) -> dict[str, Any]:
    console.print(f"{in_flight} in flight, syncs {sync_ms} ms slower, {runs} runs of each ...")
    pairs = [
        (
            _one("amends", in_flight, max(in_flight, _AMENDS[in_flight] // smaller), sync_ms=sync_ms),
            _one("by hand", in_flight, max(in_flight, _BY_HAND[in_flight] // smaller), sync_ms=sync_ms),
        )
        for _ in range(runs)
    ]
    amends, by_hand = _medians([a for a, _ in pairs]), _medians([b for _, b in pairs])
    return {
        "in_flight": in_flight,
        "amends": amends,
        "by_hand": by_hand,
        "rate_ratio": statistics.median(a["rate"] / b["rate"] for a, b in pairs),
        "p50_ratio": statistics.median(a["p50_ms"] / b["p50_ms"] for a, b in pairs),
    }


def _one(what: str, *numbers: int, sync_ms: float = 0.0) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench", "one", "--sync-ms", str(sync_ms), what, *map(str, numbers)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def _medians(measured: list[dict[str, Any]]) -> dict[str, Any]:
    """Of every number, the median over the runs."""
    first = measured[0]
    return {
        name: statistics.median(m[name] for m in measured) if isinstance(value, float) else value
        for name, value in first.items()
    }


def _show(figures: dict[str, Any]) -> None:
    console = Console()
    _show_speeds(console, "The shop's saga (9 steps, 1 in 10 declined)", figures["speed"])
    title = f"The same where a sync takes {figures['slow_disk_ms']} ms longer"
    _show_speeds(console, title, figures["speed_on_a_slow_disk"])
    console.print(f"python: {figures['machine']['python_loop_ns']:.0f} ns a turn of an empty loop")
    _show_scale(console, figures)


def _show_speeds(console: Console, title: str, speeds: list[dict[str, Any]]) -> None:
    table = Table(title=title)
    for column in ("in flight", "sagas/s", "by hand", "ratio", "p50 ms", "by hand", "ratio", "p99 ms", "CPU us/saga"):
        table.add_column(column, justify="right")
    for speed in speeds:
        amends, by_hand = speed["amends"], speed["by_hand"]
        table.add_row(
            f"{speed['in_flight']:,}",
            f"{amends['rate']:,.0f}",
            f"{by_hand['rate']:,.0f}",
            f"{speed['rate_ratio']:.1f}",
            f"{amends['p50_ms']:.2f}",
            f"{by_hand['p50_ms']:.2f}",
            f"{speed['p50_ratio']:.2f}",
            f"{amends['p99_ms']:.1f}",
            f"{amends['cpu_us']:.0f}",
        )
    console.print(table)


def _show_scale(console: Console, figures: dict[str, Any]) -> None:
    waiting, recovery, aging = figures["waiting"], figures["recovery"], figures["aging"]
    for commits in figures["disk"]:
        console.print(f"disk: {commits['rate']:,.0f} commits/s of {commits['rows']} row(s)")
    console.print(
        f"waiting: {waiting['instances']:,} instances, {waiting['rss_mib']:,.0f} MiB more"
        f" ({waiting['per_instance_bytes']:,.0f} bytes each), {waiting['threads_before']} threads before,"
        f" {waiting['threads']} with them"
    )
    console.print(
        f"recovery: {recovery['instances']:,} open instances running after {recovery['running_s']:.2f} s,"
        f" all ended after {recovery['ended_s']:.2f} s"
    )
    console.print(
        f"aging: {aging['fresh_us']:.0f} us a saga with a young journal, {aging['old_us']:.0f} us with"
        f" {aging['records']:,} records, ratio {aging['ratio']:.2f}"
    )


if __name__ == "__main__":
    main()
