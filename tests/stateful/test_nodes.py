"""Two nodes on one journal that crash, are paused, are cut off: every instance ends once, as its callers are told."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest

from amends.actors.journal.journal import Journal
from amends.actors.journal.store import Grant
from amends.testing import agenda
from tests.stateful.node_history import History
from tests.stateful.shared_journal import Opening

HISTORIES = 150


def test_every_instance_ends_once() -> None:
    """All checkers hold, whatever happens to the nodes."""
    adopted = lost = 0
    for seed in range(HISTORIES):
        history = History(seed)
        history.run_and_close()
        tokens = [token for node, token in history.cluster.journal.grants.values() if token != node]
        adopted += len(tokens)
        lost += history.cluster.journal.token > 2
    # Else nothing was looked at.
    assert adopted > HISTORIES / 10
    assert lost > HISTORIES / 2


@contextmanager
def writes_though_its_lease_is_over() -> Iterator[None]:
    """Nobody looks whether the lease still stands, when it is written or renewed."""
    with patch.object(Opening, "_hold", Opening._reach):
        yield


@contextmanager
def adopts_under_its_own_token() -> Iterator[None]:
    """No new token is granted to who adopts."""
    right = Opening.adopt

    def adopt(opening: Opening, plans: Any, limit: int) -> list[Grant]:
        grants = [Grant(grant.saga_id, opening.token) for grant in right(opening, plans, limit)]
        opening._journal.grants.update((grant.saga_id, (opening.token, opening.token)) for grant in grants)
        return grants

    with patch.object(Opening, "adopt", adopt):
        yield


@contextmanager
def hears_appends_of_an_earlier_opening() -> Iterator[None]:
    """The journal takes what an instance appends that was run under the lease before."""
    right = Journal._on_append

    def on_append(journal: Journal, append: Any) -> None:
        journal._sharing.tokens.add(append.token)
        right(journal, append)

    with patch.object(Journal, "_on_append", on_append):
        yield


BUGS = [writes_though_its_lease_is_over, adopts_under_its_own_token, hears_appends_of_an_earlier_opening]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_planted_bug_is_found(bug: Any) -> None:
    """What is looked for is found, if it is there."""
    # An instance that nobody can bring on any more shows as a livelock, which need not be a long one.
    with bug(), patch.object(agenda, "STEPS_MAX", 20_000):
        for seed in range(HISTORIES):
            try:
                History(seed).run_and_close()
            except Exception:  # noqa: BLE001 - whatever shows it
                return
    pytest.fail(f"{bug.__name__} was not found in {HISTORIES} histories")
