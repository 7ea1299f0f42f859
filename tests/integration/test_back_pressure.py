"""A broker that is slow or gone: new instances are refused before memory fills, and what was accepted ends well."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from amends import BrokerUnavailable, Completed, Handle, KeyConflict, Overloaded, System
from amends.actors.transport import buffer
from amends.demo.cluster.proxy import Proxy
from tests.actors.patience import until
from tests.actors.trip import LONG_S, Fares, LossyTrip, Script, Seats, Tickets, Trip, effects
from tests.brokers import ABroker
from tests.integration.test_line_faults import proxy

__all__ = ["proxy"]

KEPT = 40


@pytest.fixture
def stack(broker: ABroker, proxy: Proxy) -> Iterator[ExitStack]:
    """What is open, closed before the queues are deleted and the wire is taken away."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def node(broker: ABroker, proxy: Proxy, tmp_path: Path, stack: ExitStack) -> System:
    """Sagas at this end of a wire; their services are at the broker."""
    script = Script()
    services = [Seats.spec(script), Fares.spec(script), Tickets.spec(script)]
    stack.enter_context(System(tmp_path / "services", sagas=[], services=services, broker=broker.settings()))
    node = System(
        tmp_path / "node",
        sagas=[LossyTrip],
        services=[],
        elsewhere=[Seats, Fares, Tickets],
        node="node",
        broker=broker.settings(url=broker.beyond(proxy.port), buffer=KEPT),
    )
    return stack.enter_context(node)


def ready(node: System) -> bool:
    """Whether its line is."""
    line = node.status().line
    assert line is not None
    return line.ready


def is_full(node: System) -> bool:
    """Whether new instances are refused."""
    line = node.status().line
    assert line is not None
    return bool(line.full)


def start_until_refused(node: System) -> dict[str, Handle]:
    """Those that were accepted before one was not."""
    handles: dict[str, Handle] = {}
    while True:
        name = f"trip-{len(handles)}"
        try:
            handles[name] = node.start(LossyTrip, Trip(name), key=name)
        except BrokerUnavailable:
            return handles


def all_refused(node: System, count: int) -> bool:
    """Whether all of so many are that are started at once."""
    handles = [node.submit(LossyTrip, Trip(f"more-{number}")) for number in range(count)]
    for handle in handles:
        with pytest.raises(BrokerUnavailable):
            handle.accepted(LONG_S)
    return True


def test_flood_of_starts_while_the_broker_is_gone(
    node: System, proxy: Proxy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Some are accepted and the rest refused, known keys are answered all the same, and nothing accepted is lost."""
    until(lambda: ready(node))
    proxy.shut()
    until(lambda: not ready(node))
    with caplog.at_level(logging.WARNING, "amends"):
        handles = start_until_refused(node)
        assert all_refused(node, 50 * KEPT)
        assert node.start(LossyTrip, Trip("trip-0"), key="trip-0").accepted() == handles["trip-0"].accepted()
        with pytest.raises(KeyConflict):
            node.start(LossyTrip, Trip("another"), key="trip-0")
        with pytest.raises(Overloaded, match="wait"):
            node.start(LossyTrip, Trip("new"), key="new")
        status = node.status()
        assert status.line is not None
        assert status.line.waiting <= KEPT
        assert status.open == len(handles)
        # They go on asking, and what only asks again is not added to what waits.
        asked = status.line.dropped
        until(lambda: (line := node.status().line) is not None and line.dropped > asked + 2 * KEPT)
        assert (line := node.status().line) is not None
        assert line.waiting <= KEPT
        proxy.let_in()
        assert {type(handle.result(LONG_S)) for handle in handles.values()} == {Completed}
        until(lambda: not is_full(node))
    assert "broker.filled" in caplog.text
    assert "broker.drained" in caplog.text
    assert isinstance(node.run(LossyTrip, Trip("new"), key="new", timeout_s=LONG_S), Completed)
    done = effects(tmp_path / "services")
    assert [sorted(done[name]) for name in done] == [[what] * (len(handles) + 1) for what in ("seat", "fare", "ticket")]


def test_broker_that_does_not_answer(node: System, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is taken from those who begin while what little was said does not leave; then they are taken again."""
    monkeypatch.setattr(buffer, "PATIENCE_S", 0.2)
    until(lambda: ready(node))
    proxy.hold()
    first = node.start(LossyTrip, Trip("first"), key="first")
    until(lambda: is_full(node))
    with pytest.raises(BrokerUnavailable, match="has taken none"):
        node.start(LossyTrip, Trip("second"), key="second")
    proxy.release()
    assert isinstance(first.result(LONG_S), Completed)
    until(lambda: not is_full(node))
    assert isinstance(node.run(LossyTrip, Trip("second"), key="second", timeout_s=LONG_S), Completed)


def test_broker_was_never_there(proxy: Proxy, broker: ABroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node may be started before it, and accepts a little; nothing is said of a broker that nobody needs."""
    monkeypatch.setattr(buffer, "PATIENCE_S", 0.2)
    proxy.shut()
    settings = broker.settings(url=broker.beyond(proxy.port))
    elsewhere = [Seats, Fares, Tickets]
    with System(tmp_path, sagas=[LossyTrip], services=[], elsewhere=elsewhere, node="node", broker=settings) as node:
        assert not is_full(node)
        node.start(LossyTrip, Trip("first"))
        until(lambda: is_full(node))
        with pytest.raises(BrokerUnavailable):
            node.start(LossyTrip, Trip("second"))
