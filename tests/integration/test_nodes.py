"""Several nodes on one journal, as processes: killed, paused, cut off, or told to end."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from amends.demo.cluster.proxy import Proxy
from tests.actors.patience import until
from tests.actors.trip import COMPLETED, effects
from tests.console.running import NODE, Program, Start
from tests.console.test_programs import REST, SEATS, begun, open_gate, start
from tests.rabbitmq import Rabbit
from tests.servers import need_postgres, postgres_schema

__all__ = ["start"]

LEASE_S = "1.5"


@pytest.fixture
def url() -> Iterator[str]:
    """A journal of the test's own, which lives as long as the programs do."""
    with postgres_schema() as url:
        yield url


@pytest.fixture
def node(url: str, start: Start) -> Start:
    """Start a node of that name on the shared journal."""

    def begin(name: str, journal: str = url) -> Program:
        program: Program = start("node", NODE, JOURNAL=journal, NAME=name, LEASE_S=LEASE_S, DRAIN_S="0")
        program.until_ready()
        return program

    return begin


def book(node: Program, names: list[str]) -> None:
    """Start a trip for each; nobody serves them yet."""
    assert [node.book(name)[0] for name in names] == [201] * len(names)


def completed(node: Program, name: str) -> bool:
    """Whether the trip of that key is over, by that node's word."""
    return is_now(node, name, "completed")


def is_now(node: Program, name: str, state: str) -> bool:
    """Whether that is what a node says of it; one that is busy may say that it can't tell."""
    status, told = node.get(f"/sagas/book-trip/{name}")
    return status == 200 and told["state"] == state


def all_once(folder: Path, names: list[str]) -> None:
    """Every trip was booked, and nothing of it twice."""
    assert [effects(folder, name) for name in names] == [COMPLETED] * len(names)


def test_instances_of_a_killed_node(node: Start, start: Start, tmp_path: Path) -> None:
    """The other node goes on with them; a caller who asks it by their keys hears how they ended."""
    names = [f"trip-{number}" for number in range(40)]
    first, second = node("first"), node("second")
    book(first, names)
    first.kill()
    start("service", *SEATS, *REST)
    until(lambda: all(completed(second, name) for name in names))
    assert sum(event["instances"] for event in second.events("saga.adopted")) == len(names)
    all_once(tmp_path, names)


def test_instances_of_a_node_that_was_told_to_end(node: Start, start: Start, tmp_path: Path) -> None:
    """It leaves them to the other at once."""
    first, second = node("first"), node("second")
    book(first, ["a", "b"])
    first.terminate()
    assert first.status() == 0
    assert first.event("program.ended")["left_open"] == 2
    second.event("saga.adopted")
    start("service", *SEATS, *REST)
    until(lambda: completed(second, "a") and completed(second, "b"))
    all_once(tmp_path, ["a", "b"])


def test_node_that_was_paused(node: Start, start: Start, tmp_path: Path) -> None:
    """When it goes on others have what it had: it can't append, its commands are refused, and it begins anew."""
    first, second = node("first"), node("second")
    start("service", *SEATS, *REST)
    book(first, ["held", "b"])
    begun(tmp_path, "held")
    first.send(signal.SIGSTOP)
    second.event("saga.adopted")
    first.send(signal.SIGCONT)
    assert first.event("lease.lost")["node"] == "first"
    open_gate(tmp_path)
    # Whoever had started them at the first hears of their ends there, too.
    until(lambda: all(completed(node, name) for node in (second, first) for name in ("held", "b")))
    assert first.book("c", wait_s=30)[0] == 200
    all_once(tmp_path, ["held", "b", "c"])


def test_node_that_is_cut_off_from_the_journal(node: Start, start: Start, url: str, tmp_path: Path) -> None:
    """It takes nothing new, and others go on with what it had; when it is back it begins anew."""
    server = conninfo_to_dict(need_postgres())
    with Proxy(str(server.get("host") or "localhost"), int(server.get("port") or 5432)) as wire:
        far = re.sub(r"@[^/]*/", f"@127.0.0.1:{wire.port}/", url)
        first, second = node("first", far), node("second")
        book(first, ["a", "b"])
        wire.shut()
        second.event("saga.adopted")
        assert first.get("/ready")[0] == 503
        assert first.book("c")[0] == 503
        start("service", *SEATS, *REST)
        until(lambda: completed(second, "a") and completed(second, "b"))
        wire.let_in()
        first.event("lease.lost")
        first.until_ready()
        assert first.book("c", wait_s=30)[0] == 200
        all_once(tmp_path, ["a", "b", "c"])
        first.kill()


def test_cancel_at_another_node(node: Start, start: Start, tmp_path: Path) -> None:
    """Whoever asks, the node that runs the instance decides; what has ended has ended."""
    first, second = node("first"), node("second")
    book(first, ["a"])
    assert second.post("/sagas/book-trip/a/cancel", {})[1]["answer"] == "accepted"
    start("service", *SEATS, *REST)
    until(lambda: is_now(second, "a", "compensated"))
    assert second.post("/sagas/book-trip/a/cancel", {})[1]["answer"] == "already ended"
    assert effects(tmp_path, "a")["tickets"] == []


def test_the_same_keys_at_two_nodes(node: Start, start: Start, tmp_path: Path) -> None:
    """One instance each, and both nodes tell of the same one."""
    names = [f"trip-{number}" for number in range(20)]
    first, second = node("first"), node("second")
    ids = [(first.book(name)[1]["saga_id"], second.book(name)[1]["saga_id"]) for name in names]
    start("service", *SEATS, *REST)
    assert [one == two for one, two in ids] == [True] * len(names)
    until(lambda: all(completed(node, name) for node in (first, second) for name in names))
    all_once(tmp_path, names)


def test_nodes_without_names(node: Start, start: Start, tmp_path: Path) -> None:
    """Each is a new one, and they share the journal all the same."""
    first, second = node(""), node("")
    book(first, ["a"])
    book(second, ["b"])
    start("service", *SEATS, *REST)
    until(lambda: completed(first, "b") and completed(second, "a"))
    all_once(tmp_path, ["a", "b"])


def test_command_of_the_old_owner_that_comes_late(node: Start, start: Start, rabbit: Rabbit, tmp_path: Path) -> None:
    """The service has heard of the newer grant, and does not obey it."""
    first, second = node("first"), node("second")
    book(first, ["a"])
    queue = rabbit.queues.service("seats")
    until(lambda: rabbit.waiting(queue) == 1)
    late = rabbit.next_of(queue)
    assert late is not None
    properties, body = late
    first.kill()
    services = start("service", *SEATS, *REST)
    until(lambda: completed(second, "a"))
    rabbit.channel.basic_publish("", queue, body, properties)
    assert "is older than one already seen" in services.event("message.dead_lettered")["reason"]
    all_once(tmp_path, ["a"])
