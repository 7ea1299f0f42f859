"""A checkout that is killed while it sells, each time a fork of a program that has imported everything.

    python -m tests.acceptance.checkout_crashes

reads requests and answers them as `tests.integration.crash_program` does.
"""

import contextlib
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from amends.demo.faults import FaultPlan
from amends.demo.systems.checkout import Checkout
from tests.acceptance.checking_out import a_request, at_once
from tests.actors.trip import LONG_S
from tests.integration import crash_program
from tests.integration.children import ROOT
from tests.integration.crash_program import COMPLAINED, SAID, Request, say

ORDERS = [f"order-{number}" for number in range(12)]
AT_ONCE = 4
PLAN = FaultPlan(declined=0.3)
"""Some have no money, so that there is something to take back."""


def request_of(order_id: str) -> dict[str, Any]:
    """Each wants two things, the eleventh more than there is."""
    return a_request(order_id, (1, 1), (2, 1_000_000 if order_id == "order-11" else 2))


def _sell(checkout: Checkout, order_id: str) -> bool:
    answer = checkout.process_order(request_of(order_id), timeout_s=LONG_S)
    say(order_id, answer)
    return answer


def sell(folder: Path) -> None:
    """A few orders at once, so that no commit has all of them, and each answer said as it comes."""
    with Checkout(folder, plan=PLAN) as checkout:
        for first in range(0, len(ORDERS), AT_ONCE):
            at_once([partial(_sell, checkout, order_id) for order_id in ORDERS[first : first + AT_ONCE]])


def sell_and_die(folder: Path) -> None:
    """The same, until the first who is told True kills the process."""

    def until_true(checkout: Checkout, order_id: str) -> None:
        if _sell(checkout, order_id):
            os.kill(os.getpid(), signal.SIGKILL)

    with Checkout(folder, plan=PLAN) as checkout:
        at_once([partial(until_true, checkout, order_id) for order_id in ORDERS])


crash_program.MODES.update({"sell": sell, "sell and die": sell_and_die})


class Killer:
    """The program that forks the processes to be killed."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.acceptance.checkout_crashes"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )

    def sell(self, folder: Path, point: str = "", k: int = 1, mode: str = "sell") -> tuple[int, dict[str, bool], str]:
        """Run one process to its end: its exit status, the answers it gave, and what it complained of."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(Request(str(folder), mode, point, k)) + b"\n")
        self._process.stdin.flush()
        status = int(self._process.stdout.readline())
        said = [line.split() for line in (folder / SAID).read_text().splitlines()]
        return status, {order_id: answer == "True" for order_id, answer in said}, (folder / COMPLAINED).read_text()

    def close(self) -> None:
        """Ask for nothing more."""
        self._process.communicate()


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        crash_program.main()
