"""The audit of the comparison finds what an orchestrator may have done wrong, planted here by hand."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.peers import work
from bench.peers.databases import audit_of, open_file
from bench.peers.work import Audit, Function, order

STEPS = (work.create, work.reserve, work.authorize, work.capture, work.confirm)
CLEAN = Audit(completed=1, compensated=1, lost=0, half_done=0, doubled=0, repeated=0)


class Shop:
    """The services' databases, with nobody between them and the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.databases = {service: open_file(str(folder), service) for service in work.SCHEMAS}

    def do(self, number: int, *functions: Function) -> list[Any]:
        """What each function answers for the order of that number."""
        return [function(self.databases[work.SERVICE_OF[function]], order(number)) for function in functions]

    def audit(self, *accepted: int) -> Audit:
        """What the audit says."""
        return audit_of(str(self.folder), [order(number).order_id for number in accepted])


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """One order done and one refused and undone."""
    shop = Shop(tmp_path)
    shop.do(0, *STEPS)
    assert shop.do(9, work.create, work.reserve, work.authorize)[-1] is False
    shop.do(9, work.release, work.cancel)
    yield shop
    for database in shop.databases.values():
        database.close()


def test_a_sound_shop_has_nothing_wrong(shop: Shop) -> None:
    """An order done and an order undone are both an end."""
    assert shop.audit(0, 9) == CLEAN


def test_an_accepted_order_that_nobody_knows_is_lost(shop: Shop) -> None:
    """What was promised to a client and left no trace."""
    assert shop.audit(0, 9, 20) == CLEAN._replace(lost=1)


@pytest.mark.parametrize("steps", range(1, len(STEPS)))
def test_an_order_that_stopped_anywhere_is_half_done(shop: Shop, steps: int) -> None:
    """Wherever an orchestrator leaves an order, it is seen."""
    shop.do(20, *STEPS[:steps])
    assert shop.audit() == CLEAN._replace(half_done=1)


@pytest.mark.parametrize("left", [work.release, work.cancel])
def test_an_undo_that_was_left_out_is_half_done(shop: Shop, left: Function) -> None:
    """Everything that was done has to be undone."""
    shop.do(19, work.create, work.reserve, work.authorize, *({work.release, work.cancel} - {left}))
    assert shop.audit() == CLEAN._replace(half_done=1)


@pytest.mark.parametrize(
    ("service", "sql"),
    [
        ("stock", "update stock set free = free - 1 where item_id = 'item-0'"),
        ("payment", "update accounts set free = free - 1 where account = 'account-0'"),
        ("payment", "update accounts set taken = taken + 1 where account = 'account-0'"),
    ],
)
def test_an_effect_that_happened_twice_is_doubled(shop: Shop, service: str, sql: str) -> None:
    """The books say so, though every order looks as it should."""
    shop.databases[service].execute(sql)
    assert shop.audit() == CLEAN._replace(doubled=1)


def test_a_step_that_is_asked_again_changes_nothing_and_is_counted(shop: Shop) -> None:
    """So that an orchestrator which runs a step twice is correct, and seen to do it."""
    shop.do(0, *STEPS)
    shop.do(9, work.authorize, work.release, work.cancel)
    # Create, reserve and authorize of the one, authorize of the other.
    assert shop.audit() == CLEAN._replace(repeated=4)
