"""What is logged has a name, its keys and no secret; and nothing is printed unless somebody asks for it."""

import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from amends.supervisor import telemetry
from amends.supervisor.telemetry import Counters
from tests.supervisor.manual import ManualRuntime
from tests.supervisor.probe import SECRET, WAIT_S
from tests.supervisor.trouble import trouble

ROOT = Path(__file__).parents[2]

IRREGULAR = {"begun", "done", "found", "gave_up", "held", "kept", "lost", "sent", "step_done", "step_undone", "stuck"}
"""Past verbs that do not end in -ed."""


class Event(NamedTuple):
    """A name, and the keys that stand beside it in the table of names."""

    constant: str
    name: str
    keys: frozenset[str]


def table() -> list[Event]:
    """The table of names, read from the source: each constant has its keys beside it."""
    source = Path(telemetry.__file__).read_text()
    rows = re.findall(r'^([A-Z_]+): Final = "([^"]*)"  # (.*)$', source, flags=re.MULTILINE)
    return [Event(constant, name, frozenset(re.findall(r"\w+", keys))) for constant, name, keys in rows]


EVENTS = table()


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What a program gets that has set up the logger "amends"."""
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    logger, handler = logging.getLogger("amends"), Lines()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield lines
    logger.removeHandler(handler)
    logger.setLevel(level)


# Names.


def test_every_name_stands_in_the_table_once() -> None:
    """Constants of the module and rows of the table are the same; the table in the documentation is made from it."""
    constants = {name: value for name, value in vars(telemetry).items() if name.isupper() and isinstance(value, str)}
    assert constants == {event.constant: event.name for event in EVENTS}
    assert len(set(constants.values())) == len(constants)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_a_name_is_a_noun_and_a_past_verb(event: Event) -> None:
    """As in "saga.started"; the constant is the same in capitals."""
    noun, verb = re.fullmatch(r"([a-z]+)\.([a-z]+(?:_[a-z]+)*)", event.name).groups()  # type: ignore[union-attr]
    assert verb.endswith("ed") or verb in IRREGULAR
    assert event.constant == f"{noun}_{verb}".upper()


# Lines.


def test_an_event_is_a_line_of_json_with_the_keys_of_its_name(runtime: ManualRuntime, lines: list[str]) -> None:
    """Time, level, and those facts: no more, no fewer."""
    trouble(runtime)
    seen = {}
    for line in lines:
        facts = json.loads(line)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", facts.pop("timestamp"))
        name, level = facts.pop("event"), facts.pop("level")
        seen[name] = (level, frozenset(facts))
    keys = {event.name: event.keys for event in EVENTS}
    levels = {
        telemetry.ACTOR_FAILED: "error",
        telemetry.ACTOR_RESTARTED: "warning",
        telemetry.ACTOR_STUCK: "error",
        telemetry.MESSAGE_DEAD_LETTERED: "error",
        telemetry.SUPERVISOR_GAVE_UP: "error",
    }
    assert seen == {name: (level, keys[name]) for name, level in levels.items()}


def test_no_value_of_a_message_or_an_error_is_logged(runtime: ManualRuntime, lines: list[str]) -> None:
    """Not even in a traceback."""
    trouble(runtime)
    assert lines
    assert SECRET not in "".join(lines)
    assert "raise" not in "".join(lines)


def test_info_is_made_only_for_those_who_want_it(lines: list[str]) -> None:
    """It stands on the path of every step."""
    telemetry.info(telemetry.SAGA_STARTED, saga="orders", saga_id="1", key="k")
    assert telemetry.wants_info()
    assert [json.loads(line)["event"] for line in lines] == [telemetry.SAGA_STARTED]
    logging.getLogger("amends").setLevel(logging.WARNING)
    telemetry.info(telemetry.SAGA_STARTED, saga="orders", saga_id="2", key="k")
    assert not telemetry.wants_info()
    assert len(lines) == 1


QUIET = """
from amends.supervisor import telemetry
from tests.supervisor.manual import ManualRuntime
from tests.supervisor.trouble import trouble

telemetry.info(telemetry.SAGA_STARTED, saga="orders", saga_id="1", key="k")
trouble(ManualRuntime())
"""


def test_nothing_is_written_unless_the_logger_is_set_up() -> None:
    """A library does not print, not even of the worst; Pykka neither."""
    ended = subprocess.run(
        [sys.executable, "-c", QUIET], cwd=ROOT, capture_output=True, text=True, timeout=WAIT_S, check=True
    )
    assert (ended.stdout, ended.stderr) == ("", "")


# Counters.


def test_counters_begin_at_nothing() -> None:
    """Each counts since the system started."""
    counters = Counters()
    assert {name: getattr(counters, name) for name in Counters.__slots__} == dict.fromkeys(Counters.__slots__, 0)
