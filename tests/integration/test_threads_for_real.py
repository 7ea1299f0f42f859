"""Real threads on real runtimes, interrupted as often as can be: no message is lost, doubled or overtaken."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.real_threads import RUNTIMES, begin_while_told, end_while_told, hasty, same_keys, tell_and_ask

SEED = 1

on_each_runtime = pytest.mark.parametrize("runtime", RUNTIMES)


@pytest.fixture(autouse=True)
def switching() -> Iterator[None]:
    """Every test here is interrupted."""
    with hasty():
        yield


@on_each_runtime
def test_told_and_asked_while_killed(runtime: str) -> None:
    """Each message is handled once and in its sender's order, each question is answered, whoever dies meanwhile."""
    assert tell_and_ask(RUNTIMES[runtime], senders=8, messages=2000, kills=50) == 8 * 2000


@on_each_runtime
def test_told_while_they_begin(runtime: str) -> None:
    """A message may come before its reader, while it is started, or after."""
    begin_while_told(RUNTIMES[runtime], rounds=60, messages=30)


@on_each_runtime
def test_told_while_they_end(runtime: str) -> None:
    """A message that comes too late is a dead letter."""
    end_while_told(RUNTIMES[runtime], rounds=90, messages=60)


def test_same_keys_at_once(tmp_path: Path, nobody_left: None) -> None:
    """However many callers start and cancel the same at once, there is one of it, and they all hear the same."""
    same_keys(tmp_path, callers=8, keys=40, seed=SEED)
