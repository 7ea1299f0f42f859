"""Beyond one process: the same saga in one process, over RabbitMQ and over PostgreSQL; `python -m bench --cluster`.

A setting is a handful of processes (`part`), started anew for every measurement, with a schema and a prefix of
their own that are gone afterwards. Sagas are driven from inside the nodes, so that nothing is measured but
nodes, services and servers. The settings take turns, so that other load meets all of them.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import pika
import psycopg
from psycopg import sql
from rich.console import Console
from rich.table import Table

from amends.actors.transport.rabbitmq.queues import Queues
from bench.part import Driven, Part, Spent
from bench.trip import SERVICES
from bench.work import quantile

RABBITMQ: Final = os.environ.get("AMENDS_BENCH_RABBITMQ") or "amqp://guest:guest@localhost:5672"
POSTGRES: Final = os.environ.get("AMENDS_BENCH_POSTGRES") or "postgresql://postgres@localhost:5432/test"
NODES: Final = ("node-1", "node-2")
ALL: Final = tuple(SERVICES)

COUNTS: Final = {100: 4_000, 1_000: 8_000}
PROCESSES: Final = (1, 2, 4)
_OPEN: Final = 1_000
_ADOPTION_S: Final = 120.0
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Place(msgspec.Struct, frozen=True):
    """Where a measurement keeps what it has: all of it is named after `run`."""

    run: str
    folder: str

    @property
    def url(self) -> str:
        return self.schema(self.run)

    def schema(self, name: str) -> str:
        return f"{POSTGRES}{'&' if '?' in POSTGRES else '?'}schema={name}"


def in_folder(place: Place) -> list[Part]:
    """All in one process, on SQLite."""
    return [Part(place.folder, node=NODES[0], services=ALL)]


def on_server(place: Place) -> list[Part]:
    """All in one process, on PostgreSQL."""
    return [Part(place.url, node=NODES[0], services=ALL)]


def over_rabbitmq(place: Place, nodes: int = 1, processes: int = 1) -> list[Part]:
    """Nodes, and processes of each service, over RabbitMQ, on PostgreSQL."""
    return _apart(place, RABBITMQ, nodes, processes)


def over_queue(place: Place) -> list[Part]:
    """The same with the queue over PostgreSQL."""
    return _apart(place, place.schema(f"{place.run}_queue"), 1, 1)


def _apart(place: Place, broker: str, nodes: int, processes: int) -> list[Part]:
    made = [Part(place.url, broker, place.run, node) for node in NODES[:nodes]]
    return made + [Part(place.url, broker, place.run, services=(name,)) for name in ALL for _ in range(processes)]


SETTINGS: Final[dict[str, Callable[[Place], list[Part]]]] = {
    "one process, SQLite": in_folder,
    "one process, PostgreSQL": on_server,
    "1 node, RabbitMQ": over_rabbitmq,
    "2 nodes, RabbitMQ": lambda place: over_rabbitmq(place, nodes=2),
    "1 node, PostgreSQL's queue": over_queue,
}


class Process:
    """A part, running."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.part", msgspec.json.encode(part).decode()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, *words: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def hear(self, kind: type[Any] = dict) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"bench: {self.part.node or self.part.services} has ended")
        return msgspec.json.decode(line, type=kind)

    def over(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()


@contextmanager
def running(setting: Callable[[Place], list[Part]]) -> Iterator[tuple[Place, list[Process], list[Process]]]:
    """The nodes and the services of a setting, warmed up; nothing of it is left afterwards."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="amends-bench-"))
        place = Place(f"bench_{uuid.uuid4().hex[:8]}", folder)
        stack.callback(_clean_up, place)
        processes = []
        for part in setting(place):
            processes.append(process := Process(part))
            stack.callback(process.over)
        for process in processes:
            process.hear()
        nodes = [process for process in processes if process.part.node]
        for node in nodes:
            node.tell("warm-up")
            node.hear()
        yield place, nodes, [process for process in processes if not process.part.node]


def measure(setting: Callable[[Place], list[Part]], in_flight: int, count: int) -> dict[str, Any]:
    """Sagas per second and times of all nodes together, and the processor time of everybody for each saga."""
    with running(setting) as (_, nodes, services):
        before = _servers_cpu()
        for process in (*nodes, *services):
            process.tell("begin")
        for node in nodes:
            node.tell("drive", in_flight // len(nodes), count // len(nodes), f"saga-{node.part.node}")
        driven: list[Driven] = [node.hear(Driven) for node in nodes]
        after = _servers_cpu()
        spent_s = [_spent(processes) for processes in (nodes, services)]
    latencies_s = sorted(latency for found in driven for latency in found.latencies_s)
    sagas = len(latencies_s)
    elapsed_s = max(found.ended_s for found in driven) - min(found.began_s for found in driven)
    return {
        "in_flight": in_flight,
        "sagas": sagas,
        "rate": sagas / elapsed_s,
        "p50_ms": quantile(latencies_s, 0.5) * 1e3,
        "p99_ms": quantile(latencies_s, 0.99) * 1e3,
        "nodes_cpu_us": spent_s[0] / sagas * 1e6,
        "services_cpu_us": spent_s[1] / sagas * 1e6,
        "postgres_cpu_us": _spent_by("postgres", before, after) / sagas * 1e6,
        "rabbitmq_cpu_us": _spent_by("beam.smp", before, after) / sagas * 1e6,
        "load": os.getloadavg()[0],
    }


def _spent(processes: Sequence[Process]) -> float:
    for process in processes:
        process.tell("end")
    spent: list[Spent] = [process.hear(Spent) for process in processes]
    return sum(each.cpu_s for each in spent)


def _servers_cpu() -> dict[tuple[str, str], float]:
    """Processor time of the servers' processes here in seconds, by name and number, whoever makes them work."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
            if name in ("postgres", "beam.smp"):
                found[name, folder.name] = sum(map(int, rest.split()[11:13])) / _TICKS
    return found


def _spent_by(name: str, before: dict[tuple[str, str], float], after: dict[tuple[str, str], float]) -> float:
    return sum(cpu_s - before.get(process, 0.0) for process, cpu_s in after.items() if process[0] == name)


def adoption(count: int) -> dict[str, Any]:
    """From the kill of a node with about so many open instances to the end of the last of them at the other."""
    with running(lambda place: over_rabbitmq(place, nodes=2)) as (place, (first, _), _services):
        first.tell("drive", count, 100 * count, "saga")
        with psycopg.connect(POSTGRES, autocommit=True) as db:
            db.execute("select set_config('search_path', %s, false)", (place.run,))
            _until(lambda: _one(db, "select count(*) from instances where state <> 'open'") > count)
            killed_at = time.time()
            first.over()
            left = [saga_id for (saga_id,) in db.execute("select saga_id from instances where state = 'open'")]
            _until(lambda: _one(db, "select count(*) from instances where state = 'open'") == 0)
            last_at = _one(db, "select max(ended_at) from instances where saga_id = any(%s)", left)
    return {"open": len(left), "after_s": last_at - killed_at, "load": os.getloadavg()[0]}


def _one(db: "psycopg.Connection[Any]", query: str, *values: object) -> Any:
    row = db.execute(query.encode(), values).fetchone()
    assert row is not None
    return row[0]


def _until(true: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + _ADOPTION_S
    while not true():
        if time.monotonic() > give_up_s:
            raise SystemExit(f"bench: nothing came of it in {_ADOPTION_S} s")
        time.sleep(0.02)


def _clean_up(place: Place) -> None:
    with psycopg.connect(POSTGRES, autocommit=True) as db:
        found = db.execute("select nspname from pg_namespace where starts_with(nspname, %s)", (place.run,)).fetchall()
        for (name,) in found:
            db.execute(sql.SQL("drop schema {} cascade").format(sql.Identifier(name)))
    client = pika.BlockingConnection(pika.URLParameters(RABBITMQ))
    channel, queues = client.channel(), Queues(place.run)
    for queue in (*map(queues.node, NODES), *map(queues.service, ALL), queues.dead_letters):
        channel.queue_delete(queue)
    client.close()


def medians(measured: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of every number, the median over the runs."""
    return {
        name: statistics.median(m[name] for m in measured) if isinstance(value, float) else value
        for name, value in measured[0].items()
    }


def measure_all(runs: int, smaller: int, json_path: Path | None) -> None:
    """Everything, as JSON and as tables."""
    told = Console(stderr=True)
    figures: dict[str, Any] = {"runs": runs, "speed": [], "processes": []}
    for in_flight, count in COUNTS.items():
        sagas = max(in_flight, count // smaller)
        told.print(f"{in_flight} in flight, {sagas} sagas, {runs} runs of each setting ...")
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in SETTINGS}
        for _ in range(runs):
            for name, setting in SETTINGS.items():
                found[name].append(measure(setting, in_flight, sagas))
        figures["speed"] += ({"setting": name, **medians(measured)} for name, measured in found.items())
    told.print("processes of each service ...")
    for processes in PROCESSES:
        measured = [
            measure(lambda place, n=processes: over_rabbitmq(place, processes=n), 1_000, max(1_000, 8_000 // smaller))  # type: ignore[misc]
            for _ in range(runs)
        ]
        figures["processes"].append({"setting": f"{processes} of each", **medians(measured)})
    told.print("a node that is killed ...")
    figures["adoption"] = medians([adoption(max(50, _OPEN // smaller)) for _ in range(runs)])
    _show(figures)
    text = json.dumps(figures, indent=2)
    if json_path is None:
        sys.stdout.write(text + "\n")
    else:
        json_path.write_text(text + "\n", encoding="utf-8")


_COLUMNS: Final = {
    "in flight": "in_flight",
    "sagas/s": "rate",
    "p50 ms": "p50_ms",
    "p99 ms": "p99_ms",
    "nodes": "nodes_cpu_us",
    "services": "services_cpu_us",
    "PostgreSQL": "postgres_cpu_us",
    "RabbitMQ": "rabbitmq_cpu_us",
    "load": "load",
}


def _show(figures: dict[str, Any]) -> None:
    console = Console()
    console.width = max(console.width, 120)
    for title, rows in (("Settings", figures["speed"]), ("Processes of each service", figures["processes"])):
        table = Table(title=f"{title}; CPU in us a saga")
        for column in ("setting", *_COLUMNS):
            table.add_column(column, justify="left" if column == "setting" else "right")
        for row in rows:
            table.add_row(row["setting"], *(_told(row[name]) for name in _COLUMNS.values()))
        console.print(table)
    adopted = figures["adoption"]
    console.print(
        f"a node killed with {adopted['open']:,} open instances: the last ended {adopted['after_s']:.1f} s later"
    )


def _told(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:,.1f}" if number < 100 else f"{number:,.0f}"
