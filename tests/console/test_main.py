"""What the commands say about what they are told, before anything is touched."""

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from amends.console import named
from amends.console.main import main
from amends.protocol.errors import PlanError
from tests.actors.test_changed_plans import FareFirst, FreeTrip
from tests.actors.trip import BookTrip, Fares, Seats

SECRET = "hunter2"
BROKER = f"amqp://me:{SECRET}@127.0.0.1:1"
MODULES = "tests.console.modules"
SERVICES = "tests.console.trips_services"
NODE = "tests.console.trips_node"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where nothing is to be made."""
    return tmp_path / "place"


def refused(*arguments: str, **environment: str) -> str:
    """What a command says that does nothing, in one line."""
    told = CliRunner().invoke(main, arguments, env=environment)
    assert told.exit_code in (1, 2), told.output
    assert isinstance(told.exception, SystemExit)
    assert SECRET not in told.output
    return " ".join(told.output.split())


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "nowhere:Seats",
            "nowhere: there is no module 'nowhere'; wanted one in the current folder or on Python's path",
        ),
        ("tests.nowhere:Seats", "tests.nowhere: there is no module 'tests.nowhere'"),
        ("tests.nowhere.at_all:Seats", "tests.nowhere.at_all: there is no module 'tests.nowhere'"),
        ("seats", "seats: wanted MODULE:CLASS, as in shop.services:Payment"),
        (f"{MODULES}:", "wanted MODULE:CLASS"),
        ("..:Seats", "can't be imported"),
        (f"{MODULES}:Nobody", "has no 'Nobody'; its services are ['Fares', 'SPEC', 'Seating', 'Seats']"),
        (f"{MODULES}:NUMBER", f"{MODULES}:NUMBER: found a int, wanted a Service class, a spec of one"),
        (f"{MODULES}:Waiter", "found the class Waiter, wanted a Service class"),
        (f"{MODULES}:Service", "found the class Service, wanted a Service class"),
        (f"{MODULES}:twice", "found a function, wanted a Service class"),
        (f"{MODULES}:with_argument", "found a function, wanted a Service class"),
        (f"{MODULES}:Seats", "'seats' can't be made: missing a required argument: 'script'"),
    ],
)
def test_services_that_are_not_there(place: Path, name: str, told: str) -> None:
    """What was found under that name, and what is wanted."""
    assert told in refused("service", name, "--broker", BROKER, "--database", str(place))
    assert not place.exists()


def test_module_that_fails(tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where, but not with what: it may have read a password."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "fails_at_once.py").write_text(f"raise ValueError('{SECRET}')\n")
    (tmp_path / "lacks_another.py").write_text("import not_there_either\n")
    told = refused("service", "fails_at_once:X", "--broker", BROKER, "--database", str(place))
    assert "fails_at_once: can't be imported: ValueError" in told
    assert "fails_at_once.py:1 in <module>" in told
    told = refused("service", "lacks_another:X", "--broker", BROKER, "--database", str(place))
    assert "lacks_another: can't be imported: No module named 'not_there_either'" in told


def test_two_services_of_one_name(place: Path) -> None:
    """They would serve each other's messages."""
    names = [f"{SERVICES}:SEATS", f"{MODULES}:SPEC"]
    told = refused("service", *names, "--broker", BROKER, "--database", str(place))
    assert "'seats' stands twice; give each service its own name" in told
    told = refused(
        "node",
        "tests.actors.trip",
        MODULES.replace("modules", "trips_services"),
        "--broker",
        BROKER,
        "--journal",
        str(place),
    )
    assert "two services named 'seats', tests.actors.trip.Seats and tests.console.trips_services.PatientSeats" in told


def test_no_saga(place: Path) -> None:
    """In any of the modules; those that are only imported are somebody else's."""
    told = refused("node", SERVICES, "tests.console.test_main", "--broker", BROKER, "--journal", str(place))
    assert f"{SERVICES}, tests.console.test_main: no saga there; wanted a module that defines some" in told
    told = refused("node", MODULES, "--broker", BROKER, "--journal", str(place))
    assert f"{MODULES}: SAGAS has ['Seats'], wanted Saga classes" in told
    assert not place.exists()


def test_sagas_and_services_of_modules() -> None:
    """Those that a module defines, in its order; the services it knows, and the names of the others."""
    found = named.sagas_of(["tests.actors.test_changed_plans", NODE])
    assert found.sagas == [FareFirst, FreeTrip, BookTrip]
    assert set(found.services[:2]) == {Fares, Seats}
    assert found.unseen == []
    assert named.sagas_of([NODE]).unseen == ["tickets"]


def test_functions_and_specs_are_services_too() -> None:
    """With the arguments of their constructors."""
    assert [spec.service for spec in named.services_of([f"{MODULES}:fares", f"{MODULES}:SPEC"])] == [Fares, Seats]


@pytest.mark.parametrize(
    "url",
    [
        SECRET,
        f"http://me:{SECRET}@x",
        f"amqp://me:{SECRET}@x:port",
        f"amqp://x?heartbeat={SECRET}",
        f"postgresql://me:{SECRET}@x:port/y",
    ],
)
def test_broker_that_is_none(place: Path, url: str) -> None:
    """The form that is wanted is shown, and nothing of what was given."""
    told = refused("node", NODE, "--journal", str(place), AMENDS_BROKER=url)
    assert "wanted an address as in amqp://user:password@host:5672" in told or "PostgresQueue" in told
    assert not place.exists()


def test_broker_without_its_extra(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What to install is said."""
    monkeypatch.setitem(sys.modules, "amends.actors.transport.rabbitmq", None)
    told = refused("node", NODE, "--broker", BROKER, "--journal", str(place))
    assert "this one needs `pip install 'amends[rabbitmq]'`" in told
    monkeypatch.setitem(sys.modules, "amends.actors.transport.postgres", None)
    told = refused("node", NODE, "--broker", "postgresql://localhost/x", "--journal", str(place))
    assert "this one needs `pip install 'amends[postgres]'`" in told


def test_prefix_of_a_queue_that_has_none(place: Path) -> None:
    """What it has instead is said."""
    told = refused("node", NODE, "--broker", "postgresql://localhost/x", "--prefix", "mine", "--journal", str(place))
    assert "broker: prefix: found 'mine', wanted none; a queue over PostgreSQL has its schema instead" in told


def test_journal_on_a_server_that_is_named_wrongly(place: Path) -> None:
    """No password there either."""
    told = refused("node", NODE, "--broker", BROKER, "--journal", f"postgresql://me:{SECRET}@x:port/y")
    assert told.startswith("Error: ")


def test_http_where_nothing_can_listen(place: Path) -> None:
    """It is found before anything is opened."""
    told = refused("node", NODE, "--broker", BROKER, "--journal", str(place), "--http", "nowhere")
    assert "http: port: found 'nowhere', wanted HOST:PORT or PORT" in told
    assert not place.exists()


def test_what_is_missing_is_named() -> None:
    """With the name it has in the environment."""
    assert "AMENDS_BROKER" in refused("node", NODE, "--journal", "x")
    assert "Missing option '--database'" in refused("service", f"{SERVICES}:SEATS", "--broker", BROKER)
    assert "Missing argument" in refused("service", "--broker", BROKER, "--database", "x")


def test_names_of_services_fail_where_nothing_was_said() -> None:
    """An error of ours, for those who use it from Python."""
    with pytest.raises(PlanError, match="wanted MODULE:CLASS"):
        named.services_of([""])
