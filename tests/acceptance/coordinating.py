"""What the acceptance tests of the coordinator share: orders, and a program that is killed at a write of its journal.

    python -m tests.acceptance.coordinating

reads requests as JSON lines and answers each with the exit status of the process that served
it (negative for a signal), a fork of this one, which has imported everything.
"""

import contextlib
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from amends import Completed, Outcome
from amends.actors.journal.sqlite import SqliteStore
from amends.demo.domain import Address, Item, Order, PaymentInfo
from amends.demo.stocking import Delivery, stock_up
from amends.demo.systems.coordinator import Coordinator
from tests.integration.crash_points import Point, arm

ROOT = Path(__file__).parents[2]
SAID = "said"
LONG_S = 30.0

STOCK = Delivery("opening", {"apple": 10, "pear": 10})
BEFORE = Point("journal transaction begun, not committed", SqliteStore, "write", in_transaction=True)
AFTER = Point("journal committed, nobody told", SqliteStore, "write", after=True)


def an_order(order_id: str = "o-1", *, apples: int = 2, country: str = "United Kingdom") -> Order:
    """An order of apples and a pear."""
    return Order(
        order_id=order_id,
        user_id="u-1",
        items=(Item("apple", apples, 30), Item("pear", 1, 45)),
        payment_info=PaymentInfo("card_token", "tok_1"),
        shipping_address=Address(country),
    )


ORDERS = [an_order("good"), an_order("short", apples=11), an_order("nowhere", country="Unspecified")]
ENDINGS = {"good": "completed", "short": "reserve short_stock: apple", "nowhere": "prepare bad_address"}
"""One that succeeds, one that is refused in the middle, one whose address no parcel can go to."""


class Request(msgspec.Struct, frozen=True):
    """Place all orders, one after the other; die at the `k`-th write of the journal, if there is one."""

    folder: str
    k: int = 0
    after: bool = False


def ending(outcome: Outcome) -> str:
    """How an order ended, in a line."""
    return "completed" if isinstance(outcome, Completed) else f"{outcome.step} {outcome.reason}"


def place_all(folder: Path) -> None:
    """What the program does; it says with each order how it ended."""
    with Coordinator(folder) as coordinator:
        stock_up(coordinator.system, STOCK)
        for order in ORDERS:
            told = ending(coordinator.place(order, LONG_S))
            os.write(1, f"{order.order_id} {told}\n".encode())
        coordinator.finish(LONG_S)


def told(folder: Path) -> list[tuple[str, str]]:
    """What the program said in all of its lives."""
    lines = (folder / SAID).read_text().splitlines()
    return [(order_id, said) for order_id, _, said in (line.partition(" ") for line in lines)]


class Killed:
    """The program, life by life."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def run(self, request: Request) -> int:
        """One life: its exit status."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(request) + b"\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@contextmanager
def killed() -> Iterator[Killed]:
    """The program, which is gone when the block ends."""
    program = [sys.executable, "-W", "error", "-m", "tests.acceptance.coordinating"]
    process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    try:
        yield Killed(process)
    finally:
        process.communicate()


def _serve(request: Request) -> None:
    """In the forked process: do as requested, and end without a word to the parent's own state."""
    os.dup2(os.open(Path(request.folder) / SAID, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
    status = 1
    try:
        if request.k:
            arm(AFTER if request.after else BEFORE, request.k)
        place_all(Path(request.folder))
        status = 0
    except BaseException:  # noqa: BLE001 - whatever it is, the parent has to hear of it
        traceback.print_exc()
    finally:
        os._exit(status)


def main() -> None:
    """Serve requests until there are no more."""
    assert threading.active_count() == 1
    for line in sys.stdin.buffer:
        pid = os.fork()
        if pid == 0:
            _serve(msgspec.json.decode(line, type=Request))
        os.write(1, b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main()
