"""Services and nodes as processes of their own: how they end, and what is left of their work then."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from amends.actors.postgres import target
from amends.demo.cluster.proxy import Proxy
from tests.actors.patience import until
from tests.actors.trip import COMPLETED, effects
from tests.console.running import NODE, SERVICES, Program, Start
from tests.console.trips_services import FOLDER
from tests.rabbitmq import Rabbit, parameters
from tests.servers import admin, postgres_schema

SEATS, REST = [f"{SERVICES}:SEATS"], [f"{SERVICES}:FARES", f"{SERVICES}:tickets"]


@pytest.fixture
def start(rabbit: Rabbit, tmp_path: Path) -> Iterator[Start]:
    """Start a program on the test's own folder, queues and any free port; all of them are ended at the end."""
    programs: list[Program] = []

    def begin(command: str, *arguments: str, **rest: str) -> Program:
        place = {"service": "DATABASE", "node": "JOURNAL"}[command]
        settings = {"BROKER": rabbit.url, "PREFIX": rabbit.prefix, "HTTP": "0", place: str(tmp_path)}
        # A queue of a name that nobody knows would stay at the broker.
        settings |= {"NAME": "node"} | rest
        environment = {f"AMENDS_{name}": value for name, value in settings.items()} | {FOLDER: str(tmp_path)}
        program = Program(tmp_path / f"{len(programs)}.log", command, *arguments, **environment)
        programs.append(program)
        return program

    os.mkfifo(tmp_path / "gate")
    yield begin
    for program in programs:
        program.kill()


def open_gate(folder: Path) -> None:
    """Let all go on that are held now."""
    (folder / "gate").write_text("")


def begun(folder: Path, name: str) -> None:
    """Wait until a handler has somebody's seat in hand."""
    until((folder / f"{name}.begun").exists)


def ended(node: Program, count: int) -> None:
    """Wait until so many instances have ended well."""
    until(lambda: node.get("/status")[1]["completed"] == count)


def test_trips_across_processes(start: Start, tmp_path: Path) -> None:
    """A node and two programs with services; the outcome is there to be waited for, and to be asked for again."""
    node, seats, rest = start("node", NODE), start("service", *SEATS), start("service", *REST)
    status, answer = node.book("a", wait_s=30)
    assert (status, answer["outcome"]["kind"]) == (200, "completed")
    assert answer["outcome"]["results"]["ticket"] == "ticket of a"
    assert node.book("a") == (200, answer)
    assert effects(tmp_path) == COMPLETED
    for program in (node, seats, rest):
        program.until_ready()
        assert program.get("/health") == (200, {})
    assert set(seats.get("/status")[1]["mailboxes"]) == {"dead-letters", "timers", "seats"}
    for program in (node, seats, rest):
        program.terminate()
        assert program.status() == 0
        assert program.event("program.ended")["left_open"] == 0


def test_service_that_is_told_to_end_finishes_what_it_has_in_hand(start: Start, tmp_path: Path) -> None:
    """That is committed and answered; what it had not begun is done by the next one, and nothing twice."""
    names = ["held", "b", "c"]
    node, seats = start("node", NODE), start("service", *SEATS)
    start("service", *REST)
    node.book("held")
    begun(tmp_path, "held")
    for name in names[1:]:
        node.book(name)
    seats.terminate()
    assert seats.event("program.signalled")["signal"] == "SIGTERM"
    assert seats.get("/ready") == (503, {"ready": False, "reasons": ["draining"]})
    open_gate(tmp_path)
    assert seats.status() == 0
    # The answer has left with it: the trip goes on, and is over before there is another service of that name.
    ended(node, 1)
    assert effects(tmp_path)["seats"] == ["seat"]
    start("service", *SEATS)
    ended(node, 3)
    assert [effects(tmp_path, name) for name in names] == [COMPLETED] * 3


def test_service_that_is_told_to_end_waits_for_its_calls_outside(start: Start, tmp_path: Path) -> None:
    """What it is in the middle of comes back, and is answered; it takes nothing new meanwhile."""
    node, fares = start("node", NODE), start("service", f"{SERVICES}:AskedFares", DRAIN_S="60")
    start("service", *SEATS, f"{SERVICES}:tickets").until_ready()
    node.book("called")
    begun(tmp_path, "called")
    fares.terminate()
    fares.event("program.signalled")
    node.book("later")
    until(lambda: effects(tmp_path, "later")["seats"] == ["seat"])
    open_gate(tmp_path)
    assert fares.status() == 0
    ended(node, 1)
    assert (tmp_path / "called.begun").read_text() == "once"
    assert not (tmp_path / "later.begun").exists()
    start("service", f"{SERVICES}:FARES")
    ended(node, 2)


def test_second_signal_ends_at_once(start: Start, tmp_path: Path) -> None:
    """As a kill would: what was in hand has not happened, and is done by the next one."""
    node, seats = start("node", NODE), start("service", *SEATS)
    start("service", *REST)
    node.book("held")
    begun(tmp_path, "held")
    seats.terminate()
    seats.event("program.signalled")
    seats.terminate()
    assert seats.status() == 128 + 15
    assert effects(tmp_path)["seats"] == []
    (tmp_path / "held.begun").unlink()
    start("service", *SEATS)
    begun(tmp_path, "held")
    open_gate(tmp_path)
    ended(node, 1)
    assert effects(tmp_path) == COMPLETED


def test_node_that_is_told_to_end_waits_for_its_instances(start: Start, tmp_path: Path) -> None:
    """New ones are refused meanwhile; and a caller's idle connection keeps it from nothing."""
    node = start("node", NODE, DRAIN_S="60")
    node.book("a")
    idle = node.connect()
    idle.request("GET", "/health")
    assert idle.getresponse().read() == b"{}"
    node.terminate()
    node.event("program.signalled")
    assert node.get("/ready") == (503, {"ready": False, "reasons": ["draining"]})
    status, answer = node.book("b")
    assert (status, "draining" in answer["error"]) == (503, True)
    start("service", *SEATS, *REST)
    assert node.status() == 0
    assert node.event("program.ended")["left_open"] == 0
    assert effects(tmp_path) == COMPLETED
    idle.close()


def test_node_leaves_what_takes_too_long_to_the_next(start: Start, tmp_path: Path) -> None:
    """That is no error, and the next one of its name goes on."""
    node = start("node", NODE, DRAIN_S="0")
    node.book("a")
    node.terminate()
    assert node.status() == 0
    assert node.event("program.ended")["left_open"] == 1
    node = start("node", NODE)
    start("service", *SEATS, *REST)
    ended(node, 1)
    assert effects(tmp_path) == COMPLETED


def test_node_that_is_killed_goes_on_when_it_is_started_again(start: Start, tmp_path: Path) -> None:
    """Under its name, where the answers have waited for it."""
    node = start("node", NODE)
    start("service", *SEATS, *REST)
    for name in ("held", "b"):
        node.book(name)
    begun(tmp_path, "held")
    node.kill()
    open_gate(tmp_path)
    node = start("node", NODE)
    ended(node, 2)
    assert [effects(tmp_path, name) for name in ("held", "b")] == [COMPLETED] * 2


def test_node_that_ends_leaves_what_is_open_to_the_others(start: Start, tmp_path: Path) -> None:
    """They share a journal, and each can tell of what the other began, and cancel it."""
    with postgres_schema() as url:
        node, other = start("node", NODE, JOURNAL=url, DRAIN_S="0"), start("node", NODE, JOURNAL=url, NAME="other")
        node.book("a")
        node.book("b")
        other.until_ready()
        assert other.post("/sagas/book-trip/b/cancel", {})[1]["answer"] == "accepted"
        node.terminate()
        assert node.status() == 0
        assert node.event("program.ended")["left_open"] == 2
        start("service", *SEATS, *REST)
        assert other.book("a", wait_s=30)[1]["outcome"]["kind"] == "completed"
        assert other.book("b", wait_s=30)[1]["outcome"]["reason"] == "cancelled by the caller"
        assert other.events("saga.adopted")
        other.terminate()
        assert other.status() == 0
    assert effects(tmp_path, "a") == COMPLETED
    assert effects(tmp_path, "b")["tickets"] == []


def test_trips_on_postgresql_alone(start: Start) -> None:
    """Journal, services and queue are schemas of one database, which is all there has to be."""
    with postgres_schema() as url:
        rest = {"BROKER": f"{url}_queue", "PREFIX": "", "DATABASE": url}
        node = start("node", NODE, JOURNAL=url, **rest)
        services = [start("service", *names, **rest) for names in (SEATS, SEATS, REST)]
        for number in range(10):
            assert node.book(f"trip-{number}")[0] == 201
        ended(node, 10)
        for program in (node, *services):
            program.until_ready()
            program.terminate()
            assert program.status() == 0
        with admin(f"{target(url).schema}_seats") as db:
            assert db.execute("select count(*), count(distinct name) from effects").fetchall() == [(10, 10)]


def test_ready_follows_the_journals_server(start: Start) -> None:
    """Though nothing is to be written, it is seen when the server has gone, and when it is back."""
    with postgres_schema() as url:
        server = psycopg.conninfo.conninfo_to_dict(url.partition("?")[0])
        with Proxy(str(server["host"]), int(str(server.get("port", 5432)))) as proxy:
            way = re.sub("@[^/]*", f"@127.0.0.1:{proxy.port}", url)
            node = start("node", NODE, JOURNAL=way)
            node.until_ready()
            proxy.shut()
            until(lambda: node.get("/ready")[0] == 503)
            (reason,) = node.get("/ready")[1]["reasons"]
            assert reason.startswith("journal: ")
            assert node.get("/health") == (200, {})
            proxy.let_in()
            node.until_ready()
            node.terminate()
            assert node.status() == 0


def test_ready_follows_the_broker(start: Start, rabbit: Rabbit) -> None:
    """Gone, it is not ready and says why; back, it is again; and it is in health all the time."""
    broker = parameters(rabbit.url)
    with Proxy(broker.host, broker.port) as proxy:
        node = start("node", NODE, BROKER=re.sub("@[^/]*", f"@127.0.0.1:{proxy.port}", rabbit.url))
        node.until_ready()
        proxy.shut()
        until(lambda: node.get("/ready") == (503, {"ready": False, "reasons": ["broker: not connected"]}))
        assert node.get("/health") == (200, {})
        proxy.let_in()
        node.until_ready()
        node.terminate()
        assert node.status() == 0


def test_service_that_does_not_know_a_command(start: Start, tmp_path: Path) -> None:
    """It is unavailable for it: before the decision the trip goes back, and after it waits for a newer service."""
    old = "tests.console.trips_old"
    node, fares = start("node", NODE), start("service", f"{old}:OldFares")
    start("service", *SEATS)
    outdated = start("service", f"{old}:OldTickets", DATABASE=str(tmp_path / "old"))
    _, answer = node.book("a", wait_s=30)
    assert answer["outcome"] == {
        "kind": "compensated",
        "step": "fare",
        "reason": "service 'fares' does not handle TakeFare",
    }
    fares.terminate()
    fares.status()
    start("service", f"{SERVICES}:FARES")
    _, answer = node.book("b")
    until(lambda: bool(node.get("/status")[1]["stuck"]))
    reason = {"ticket": "service 'tickets' does not handle PrintTicket"}
    assert node.get("/status")[1]["stuck"] == {answer["saga_id"]: reason}
    outdated.terminate()
    outdated.status()
    start("service", f"{SERVICES}:tickets")
    ended(node, 1)
    assert effects(tmp_path, "a") == {"seats": ["seat", "free seat"], "fares": [], "tickets": []}
    assert effects(tmp_path, "b") == COMPLETED


def test_password_that_the_broker_refuses_is_told_to_nobody(start: Start, rabbit: Rabbit) -> None:
    """Neither in the log nor over HTTP; the program goes on trying."""
    node = start("node", NODE, BROKER=re.sub("//.*@", "//me:hidden@", rabbit.url), LOG_LEVEL="debug")
    assert "ACCESS_REFUSED" in node.event("broker.lost")["reason"]
    assert node.get("/ready")[0] == 503
    told = [node.said, node.get("/ready"), node.get("/status")]
    assert "hidden" not in str(told)


def test_program_whose_database_is_not_there(start: Start) -> None:
    """It ends with a sentence, and no traceback."""
    node = start("node", NODE, JOURNAL="/dev/null/nowhere")
    assert (node.status(), node.said) == (1, "Error: /dev/null/nowhere: can't be made: Not a directory\n")
