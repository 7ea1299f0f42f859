"""What only the queue over PostgreSQL does: rows that anyone may write, and readers that die, hang and come back."""

import json
import logging
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from amends.actors import postgres
from amends.actors.transport.postgres import PostgresQueue, pump, tables
from amends.actors.transport.postgres.broker import SCHEMA
from amends.actors.transport.postgres.tables import Out, Session
from amends.actors.transport.wire import encode_message
from amends.demo.cluster.own_postgres import OwnPostgres
from amends.protocol.errors import AmendsError, InputError
from tests.actors.patience import until
from tests.brokers import Table
from tests.integration.children import ROOT
from tests.lines import SAGA, Ends, a_node, a_service, do, join_by, leave, reply, some_ends
from tests.supervisor.probe import WAIT_S

SEATS = "seats"
QUEUE = "service.seats"


@pytest.fixture
def ends(table: Table) -> Iterator[Ends]:
    """A service and an open instance that nothing joins yet."""
    with some_ends() as ends:
        yield ends


def put(table: Table, body: str, queue: str = QUEUE, **rest: Any) -> None:
    """Write a row, as a program in another language does."""
    row = {"queue": queue, "kind": "undo", "reply_to": "node.foreign", "body": body} | rest
    names, places = ", ".join(row), ", ".join(f"%({name})s" for name in row)
    table.db.execute(f"insert into messages ({names}) values ({places})".encode(), row)


# Rows.


def test_row_that_anyone_writes_is_served(ends: Ends, table: Table) -> None:
    """And its answer is a row of the queue it names."""
    a_service(ends, table.settings()).wait_until_ready(WAIT_S)
    put(table, '{"service":"seats","saga_id":"i","step":"s","attempt":1,"token":1}')
    message = ends.read[SEATS].take()
    assert (message.saga_id, message.step, message.reply_to) == ("i", "s", "node.foreign")
    leave(ends.served.to_saga(reply(message)))
    until(lambda: table.one("select count(*) from messages where queue = 'node.foreign'") == 1)
    ((kind, schema, reply_to, body),) = table.db.execute("select kind, schema, reply_to, body from messages").fetchall()
    assert (kind, schema, reply_to) == ("reply", 1, None)
    assert json.loads(body)["answer"] == {"kind": "done", "result": 1}


SOUND = '{"service":"seats","saga_id":"i","step":"s","attempt":1,"token":1}'
UNREADABLE: list[tuple[str, str, dict[str, Any]]] = [
    ("schema", SOUND, {"schema": 2}),
    ("type", SOUND, {"kind": "redo"}),
    ("reply_to", SOUND, {"reply_to": None}),
    ("$", "hello", {}),
    ("service", SOUND.replace("seats", "fares"), {}),
]


@pytest.mark.parametrize(("field", "body", "rest"), UNREADABLE)
def test_unreadable_row_is_put_aside_with_the_reason(
    ends: Ends, table: Table, field: str, body: str, rest: dict[str, Any]
) -> None:
    """It stands among the dead letters as it was, and the next ones are read."""
    _, served = join_by(ends, table.settings())
    put(table, body, **rest)
    leave(ends.node.to_service(do()))
    assert ends.read[SEATS].take().attempt == 1
    until(lambda: table.one("select count(*) from dead_letters") == 1)
    ((queue, kept, reason),) = table.db.execute("select queue, body, reason from dead_letters").fetchall()
    assert (queue, kept) == (QUEUE, body)
    assert field in reason
    assert served.status().unreadable == 1
    until(lambda: table.one("select count(*) from messages where queue = 'service.seats'") == 0)


def test_message_is_found_although_nobody_was_told(ends: Ends, table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's word may be lost; whoever reads looks now and then."""
    monkeypatch.setattr(pump, "LOOK_EVERY_S", 0.2)
    a_service(ends, table.settings()).wait_until_ready(WAIT_S)
    table.db.execute("alter table messages disable trigger tell_readers")
    put(table, SOUND)
    assert ends.read[SEATS].take().saga_id == "i"


def test_replies_to_a_node_that_is_gone_are_forgotten(ends: Ends, table: Table) -> None:
    """After an hour; those of a node that runs are not, nor what waits for a service."""
    a_node(ends, table.settings()).wait_until_ready(WAIT_S)
    for queue in ("node.gone", "node.node", "service.fares"):
        put(table, "{}", queue, sent_at="2001-01-01", taken_by=0)
    put(table, "{}", "node.gone", kind="late", taken_by=0)
    place = postgres.target(table.url, SCHEMA)
    with postgres.connect(place) as db:
        Session(db, place, None, []).tidy()
    left = table.db.execute("select queue, kind from messages order by id").fetchall()
    assert left == [("node.node", "undo"), ("service.fares", "undo"), ("node.gone", "late")]


# Readers that die and hang.


@contextmanager
def holding(table: Table, *how: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that has the next message of the service in hand when it says so."""
    program = [sys.executable, "-m", "tests.integration.holding", table.url, *how]
    process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def says(process: "subprocess.Popen[str]", word: str) -> bool:
    """Whether it says that next."""
    assert process.stdout is not None
    return process.stdout.readline() == f"{word}\n"


def test_killed_process_frees_what_it_had_in_hand(ends: Ends, table: Table) -> None:
    """Within seconds: the server ends its session, and who looks next gives it to another instance."""
    a_node(ends, table.settings())
    leave(ends.node.to_service(do(1)))
    with holding(table) as process:
        assert says(process, "took")
        other = a_service(ends, table.settings())
        assert other.wait_until_ready(WAIT_S)
        process.kill()
        assert ends.read[SEATS].take().attempt == 1
    assert other.status().redelivered == 1


def test_process_that_hangs_is_given_up(ends: Ends, table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its session is still there, but it has said nothing for too long."""
    monkeypatch.setattr(tables, "GONE_S", 1.0)
    monkeypatch.setattr(pump, "LOOK_EVERY_S", 0.3)
    a_node(ends, table.settings())
    leave(ends.node.to_service(do(1)))
    with holding(table) as process:
        assert says(process, "took")
        process.send_signal(signal.SIGSTOP)
        a_service(ends, table.settings())
        assert ends.read[SEATS].take().attempt == 1


def test_reader_that_was_given_up_changes_nothing_any_more(table: Table) -> None:
    """What it had in hand is another's, it takes nothing more, and it finds out."""
    place = postgres.target(table.url, SCHEMA)
    with postgres.connect(place) as one, postgres.connect(place) as two:
        first, second = Session(one, place, None, []), Session(two, place, None, [])
        first.turn([Out(QUEUE, encode_message(do(), "node.node"))], [], {})
        (had,) = first.turn([], [], {QUEUE: 10})
        table.db.execute("update readers set seen_at = now() - interval '1 hour' where reader = %s", (first.reader,))
        second.look_after()
        first.turn([], [(QUEUE, had.id)], {})
        (has,) = second.turn([], [], {QUEUE: 10})
        assert (has.id, has.deliveries) == (had.id, 2)
        second.leave()
        assert first.turn([], [], {QUEUE: 10}) == []
        with pytest.raises(AmendsError, match="given up"):
            first.look_after()
        assert table.one("select taken_by from messages") is None


def test_line_that_was_given_up_begins_anew(ends: Ends, table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a pause of the whole process."""
    monkeypatch.setattr(pump, "LOOK_EVERY_S", 0.2)
    node, served = join_by(ends, table.settings())
    table.db.execute("delete from readers")
    until(lambda: node.status().connections > 1 and served.status().connections > 1)
    leave(ends.node.to_service(do()))
    assert ends.read[SEATS].take().attempt == 1


def test_message_that_is_given_back_too_often_is_put_aside(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be what its readers die of."""
    monkeypatch.setattr(tables, "DELIVERIES", 2)
    place = postgres.target(table.url, SCHEMA)
    with postgres.connect(place) as db:
        for deliveries in (1, 2):
            reader = Session(db, place, None, [])
            if deliveries == 1:
                reader.turn([Out(QUEUE, encode_message(do(), "node.node"))], [], {})
            (had,) = reader.turn([], [], {QUEUE: 10})
            assert had.deliveries == deliveries
            reader.leave()
        assert Session(db, place, None, []).turn([], [], {QUEUE: 10}) == []
    assert table.one("select reason from dead_letters") == "delivered 2 times and never settled"


def test_child_made_by_fork_holds_nothing(ends: Ends, table: Table) -> None:
    """What its parent had in hand is free as soon as that is killed, though the child lives on."""
    a_node(ends, table.settings())
    leave(ends.node.to_service(do(1)))
    with holding(table, "fork") as process:
        assert says(process, "took")
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        assert says(process, "forked")
        process.kill()
        a_service(ends, table.settings())
        assert ends.read[SEATS].take().attempt == 1


class Hand:
    """An inbox whose messages a test settles."""

    name = SEATS

    def __init__(self) -> None:
        self.receipts: list[Callable[[], None]] = []

    def tell(self, message: object) -> None:
        raise NotImplementedError

    def deliver(self, message: object, receipt: Callable[[], None]) -> None:
        self.receipts.append(receipt)


def test_no_more_than_prefetch_is_in_hand_after_a_lost_connection(ends: Ends, table: Table) -> None:
    """What was taken on an earlier one is settled in vain."""
    a_node(ends, table.settings())
    for number in range(1, 11):
        leave(ends.node.to_service(do(number)))
    hand = Hand()
    line = table.settings(prefetch=2).connect("", {SEATS: hand}, {}, ends.pool.clock)
    ends.opened(line)
    until(lambda: len(hand.receipts) == 2)
    table.db.execute(
        "select pg_terminate_backend(pid) from pg_locks join readers on objid::bigint = reader"
        " where locktype = 'advisory' and classid::bigint = %s and queue is null",
        (postgres.target(table.url, SCHEMA).lock,),
    )
    until(lambda: len(hand.receipts) == 4)
    for receipt in hand.receipts[:]:
        receipt()
    until(lambda: table.one("select count(*) from messages") == 8 and len(hand.receipts) == 6)
    assert table.one("select count(*) from messages where taken_by is not null") == 2


# The server.


@pytest.mark.timeout(120)
def test_nothing_is_lost_when_the_server_is_restarted_and_killed(own_postgres: OwnPostgres) -> None:
    """What it had written is there again, and what it had not is sent again."""
    with some_ends() as ends:
        node, _ = join_by(ends, PostgresQueue(own_postgres.url))
        for numbers, end in ((range(1, 1001), own_postgres.restart), (range(1001, 2001), own_postgres.kill)):
            before = node.status().connections
            for number in numbers:
                leave(ends.node.to_service(do(number)))
            end()
            if end == own_postgres.kill:
                own_postgres.start()
            asked, answered = set(numbers), set(numbers)
            while asked:
                message = ends.read[SEATS].take()
                asked.discard(message.attempt)
                leave(ends.served.to_saga(reply(message)))
            while answered:
                answered.discard(ends.read[SAGA].take().attempt)
            assert node.status().connections > before


# Settings.


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("url", {"url": "http://secret@host"}),
        ("url", {"url": "postgresql://u:secret@host/db?schema=a-b"}),
        ("prefetch", {"prefetch": 0}),
        ("replies", {"replies": 0}),
        ("buffer", {"buffer": 0}),
    ],
)
def test_settings_that_can_not_work(field: str, change: dict[str, Any]) -> None:
    """Each names the field; an address is not repeated, since it may hold a password."""
    with pytest.raises(InputError) as error:
        PostgresQueue(**{"url": "postgresql://localhost/test"} | change)
    assert error.value.path == field
    assert "secret" not in str(error.value)


def test_password_is_told_nobody(ends: Ends, table: Table, caplog: pytest.LogCaptureFixture) -> None:
    """A login that is refused is logged without it."""
    host, port = table.address
    settings = table.settings(url=f"postgresql://nobody:hunter2@{host}:{port}/test")
    with caplog.at_level(logging.DEBUG):
        line = a_node(ends, settings)
        until(lambda: "broker.lost" in caplog.text)
    assert not line.status().ready
    assert "hunter2" not in caplog.text + repr(settings)
