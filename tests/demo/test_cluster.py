"""The cluster demo: real programs over real servers, small; and what it does when it may not end."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pika
import pytest
from click.testing import CliRunner

from amends.demo.__main__ import main
from amends.demo.audit import audit
from amends.demo.cluster.customers import Answer
from amends.demo.cluster.servers import ServerMissing, address
from amends.demo.cluster.story import contradictions
from amends.demo.cluster.troubles import KINDS, draw
from amends.demo.generated import generated_orders
from tests.rabbitmq import Rabbit, rabbit
from tests.servers import admin, need_postgres

__all__ = ["rabbit"]

END_S = 150.0
ROOT = Path(__file__).parents[2]
# Its first three troubles: a machine is cut off from the database, a node is paused, a node is killed.
SEED = "94"


class Demo:
    """The demo as a program, on the servers of the tests."""

    def __init__(self, rabbit: Rabbit, *arguments: str) -> None:
        servers = ("--broker", rabbit.url, "--database", need_postgres())
        self._rabbit = rabbit
        self._process = subprocess.Popen(
            [sys.executable, "-m", "amends.demo", "cluster", *servers, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            # Who is away is given up sooner than a person would want it.
            env=os.environ | {"AMENDS_LEASE_S": "1.5", "COLUMNS": "200"},
        )
        self.said = ""

    def until(self, words: str) -> None:
        """Listen until it says that."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.said += line
            if words in line:
                return
        raise AssertionError(f"it never said {words!r}: {self.said}")

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self) -> int:
        """Its exit status."""
        said, _ = self._process.communicate(timeout=END_S)
        self.said += said
        return self._process.returncode

    def left(self) -> list[str]:
        """What of it is there."""
        found = re.search(r"shop_\w+", self.said)
        assert found is not None, self.said
        run = found[0]
        with admin() as db:
            schemas = db.execute("select nspname from pg_namespace where starts_with(nspname, %s)", (run,)).fetchall()
        queues = [f"{run}.{name}" for name in ("dead-letters", "service.orders", "node.node-a", "node.node-b")]
        programs = [
            line for line in subprocess.check_output(["ps", "-eo", "args"], text=True).splitlines() if run in line
        ]
        return [*(name for (name,) in schemas), *filter(self._has, queues), *programs]

    def over(self) -> None:
        """It ends, and with it all that it made, whatever the test has come to."""
        if self._process.poll() is None:
            self.send(signal.SIGTERM)
            self.end()

    def _has(self, queue: str) -> bool:
        channel = self._rabbit.client.channel()
        try:
            channel.queue_declare(queue, passive=True)
        except pika.exceptions.ChannelClosedByBroker:
            return False
        return True


@pytest.fixture
def start(rabbit: Rabbit) -> Iterator[Callable[..., Demo]]:
    """Start the demo."""
    with ExitStack() as stack:

        def begin(*arguments: str) -> Demo:
            demo = Demo(rabbit, *arguments)
            stack.callback(demo.over)
            return demo

        yield begin


@pytest.mark.timeout(300)
def test_orders_end_and_add_up_whatever_befalls_the_programs(start: Callable[..., Demo], tmp_path: Path) -> None:
    """Nodes killed and paused, connections cut: every order has one outcome, and the demo leaves nothing behind."""
    data = tmp_path / "data"
    few = ("--orders-count", "50", "--in-flight", "20", "--hangs-share", "0")
    demo = start(*few, "--troubles", "3", "--away-s", "2.5", "--seed", SEED, "--data", str(data))
    assert demo.end() == 0, demo.said
    assert "50 of 50 orders ended" in demo.said
    assert "node killed" in demo.said
    assert "WRONG" not in demo.said
    assert [finding.check for finding in audit(data) if finding.rows] == []
    assert demo.left() == []


@pytest.mark.timeout(300)
def test_nothing_is_left_of_a_demo_that_was_told_to_end(start: Callable[..., Demo], tmp_path: Path) -> None:
    """By a person or another program: neither programs, nor schemas, nor queues, nor files."""
    demo = start("--data", str(tmp_path / "data"))
    demo.until("all programs are ready")
    demo.send(signal.SIGTERM)
    assert demo.end() == 1
    assert demo.left() == []
    assert list((tmp_path / "data").iterdir()) == []


def test_servers_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are named, with what to do; no password is shown, and no folder stays."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("AMENDS_TEST_RABBITMQ", "amqp://me:hush@127.0.0.1:1")
    result = CliRunner().invoke(main, ["cluster", "--database", "postgresql://me:hush@127.0.0.1:2/x"])
    assert result.exit_code == 2
    assert "no RabbitMQ answers at 127.0.0.1:1" in result.output
    assert "no PostgreSQL answers at 127.0.0.1:2" in result.output
    assert "--own-servers" in result.output
    assert "hush" not in result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--own-servers", "--broker", "amqp://localhost"], "--broker and --database name others"),
        (["--data", str(ROOT)], "is not empty"),
        (["--lost-share", "0.1"], "No such option"),
        (["--broker", "amqps://me:hush@localhost"], "wanted amqp://user@host"),
        (["--database", "postgresql:///test?password=hush"], "wanted postgresql://user@host"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: list[str], said: str) -> None:
    """Before anything is touched."""
    result = CliRunner().invoke(main, ["cluster", *arguments])
    assert result.exit_code == 2
    assert said in result.output
    assert "hush" not in result.output


def test_a_wire_stands_in_front_of_a_url() -> None:
    """All but host and port stays as it was."""
    by = address("postgresql://me:se%40cret@far:99/shop?connect_timeout=3", "postgresql", 5432).by(7)
    assert by == "postgresql://me:se%40cret@127.0.0.1:7/shop?connect_timeout=3"
    assert address("amqp://far", "amqp", 5672).port == 5672
    with pytest.raises(ServerMissing):
        address("amqp:far", "amqp", 5672)


def test_every_trouble_comes_before_any_comes_again() -> None:
    """And a seed decides their order."""
    drawn = draw(KINDS, 2 * len(KINDS), Random(1))
    assert drawn == draw(KINDS, 2 * len(KINDS), Random(1))
    assert sorted(drawn[: len(KINDS)]) == sorted(drawn[len(KINDS) :]) == sorted(KINDS)


def test_what_customers_heard_is_held_against_what_is_written_down() -> None:
    """Whoever heard something else, or nothing, is told of."""
    one, two, three = generated_orders(3, seed=1)
    answers = {one.order_id: Answer("completed"), two.order_id: Answer("completed")}
    states = {one.order_id: "completed", two.order_id: "compensated", three.order_id: "completed"}
    assert contradictions([one, two, three], answers, states) == [
        f"order {two.order_id}: its customer heard completed; compensated is written down",
        f"order {three.order_id}: its customer heard nothing; completed is written down",
    ]
