"""The checkout, C4: a kill at whatever moment leaves what was committed, and the rest whole or gone."""

import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from amends.demo.systems.checkout import Checkout
from tests.acceptance.checking_out import COMMITTED, at_once, instances, left_in_stock, movements, shop, states, wrong
from tests.acceptance.checkout_crashes import ORDERS, PLAN, Killer, request_of
from tests.actors.trip import LONG_S

STOCK = {"1": 100, "2": 100}

# Names of `tests.integration.crash_points`, and which time they are reached.
KILLS = [
    ("start asked, journal not written", 4),
    ("journal transaction begun, not committed", 3),
    *(("journal committed, nobody told", k) for k in (1, 2, 4, 6)),
    ("start on disk, nobody told", 1),
    ("caller told accepted", 5),
    ("command left", 7),
    ("service took the command, handler not run", 9),
    ("handler about to run", 11),
    ("handler ran, nothing committed", 12),
    ("fence written, not committed", 3),
    *(("service committed, answer not sent", k) for k in (1, 2, 3, 4, 5, 6)),
    ("answer arrived, nothing decided", 8),
    ("decided, not appended", 3),
    ("decided forward on disk, retriable not sent", 1),
    ("decided back on disk, undo not sent", 1),
    ("undo arrived, not run", 1),
    ("undo ran, not committed", 2),
    ("undo committed, answer not sent", 1),
    ("end on disk, nobody told", 1),
    ("end on its way to a slow disk", 1),
    ("caller about to be told the outcome", 2),
    ("caller told the outcome", 1),
    ("all ended, store not closed", 1),
]


@pytest.fixture(scope="module")
def killer() -> Iterator[Killer]:
    """One program for all kills."""
    program = Killer()
    yield program
    program.close()


def check_what_is_left(folder: Path, told: dict[str, bool]) -> None:
    """What was told holds, before anybody has opened the shop again and after; and all orders are whole or gone."""
    for order_id, committed in told.items():
        assert (states(folder, order_id) == COMMITTED) is committed, order_id
    with Checkout(folder, plan=PLAN) as again:
        again.finish(LONG_S)
        answers = dict(zip(ORDERS, at_once([partial(again.process_order, request_of(o)) for o in ORDERS]), strict=True))
    assert told.items() <= answers.items()
    assert set(answers.values()) == {True, False}
    for order_id, committed in answers.items():
        assert (states(folder, order_id) == COMMITTED) is committed, order_id
        assert movements(folder, order_id) in ([["hold", "capture"]] if committed else [[], ["hold", "void"]])
    sold = sum(answers.values())
    assert (left_in_stock(folder, "1"), left_in_stock(folder, "2")) == (100 - sold, 100 - 2 * sold)
    assert instances(folder) == len(ORDERS)
    assert wrong(folder) == []


@pytest.mark.parametrize(("point", "k"), KILLS)
def test_C4_a_committed_order_survives_a_kill_at(tmp_path: Path, killer: Killer, point: str, k: int) -> None:
    """The process is gone at that moment; another one finds every order, and finishes those that were under way."""
    with shop(tmp_path, STOCK):
        pass
    status, told, complaints = killer.sell(tmp_path, point, k)
    assert (status, complaints) == (-signal.SIGKILL, "")
    check_what_is_left(tmp_path, told)


def test_C4_a_committed_order_survives_a_kill_right_after_it_was_said(tmp_path: Path, killer: Killer) -> None:
    """Whoever was told True has not been told too much."""
    with shop(tmp_path, STOCK):
        pass
    status, told, _ = killer.sell(tmp_path, mode="sell and die")
    assert status == -signal.SIGKILL
    assert True in told.values()
    check_what_is_left(tmp_path, told)


def test_C4_a_kill_while_an_earlier_one_is_recovered_from_changes_nothing(tmp_path: Path, killer: Killer) -> None:
    """Kill after kill the answers given before hold, and in the end all are there."""
    with shop(tmp_path, STOCK):
        pass
    told: dict[str, bool] = {}
    for point, k in (
        ("decided forward on disk, retriable not sent", 1),
        ("recovery: resumption on disk, nothing sent", 1),
        ("service committed, answer not sent", 2),
        ("end on disk, nobody told", 1),
    ):
        status, said, _ = killer.sell(tmp_path, point, k)
        assert status == -signal.SIGKILL
        assert told.items() <= (told | said).items()
        told |= said
    check_what_is_left(tmp_path, told)
