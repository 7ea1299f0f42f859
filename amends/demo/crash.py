"""The crash demo: the program is killed in the middle of its work, again and again, and loses nothing.

A parent starts a worker on one data folder and kills it with SIGKILL, which no program can
prepare for. The next worker hands all orders in again, as customers do that got no answer: by
their numbers, so that none is placed twice. The last worker is left in peace.
"""

import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

import msgspec
from msgspec import Struct
from rich.console import Console

from amends import Handle
from amends.demo.domain import Order
from amends.demo.load import STALL_S, Tally, place_all
from amends.demo.stocking import Stalled, stock_up
from amends.demo.systems.coordinator import Coordinator
from amends.demo.workload import Settings, Workload, workload

ENDED = "ended"
"""What a worker says with every order that ended, and how many did."""

START_UP_S_MAX = 1.0
LINGER_S_MAX = 0.03


class Moment(Struct, frozen=True):
    """When a worker is killed.

    Attributes:
        ended: once so many orders have ended; None is at once.
        after_s: so long after that.
    """

    ended: int | None
    after_s: float


def moments(kills: int, orders: int, seed: int) -> list[Moment]:
    """Random moments, spread over the work so that all of them come before its end.

    Every fourth kill is timed from the worker's start: it hits the start-up and the recovery.
    """
    chance = Random(seed)
    found = []
    for number in range(kills):
        if number % 4 == 3:
            found.append(Moment(None, chance.uniform(0.0, START_UP_S_MAX)))
        else:
            ended = int((number + chance.random()) / (kills + 1) * orders)
            found.append(Moment(ended, chance.uniform(0.0, LINGER_S_MAX)))
    return found


def run(folder: Path, work: Workload, settings: Settings, console: Console, *, kills: int) -> bool:
    """Let workers work and kill them; True if the last one saw every order end."""
    total = len(work.orders)
    for killed, moment in enumerate((*moments(kills, total, settings.seed), None)):
        with Worker(folder, settings) as worker:
            status = worker.finish() if moment is None else worker.kill_at(moment)
            progress = f"{worker.ended:,} of {total:,} orders ended" if worker.ended else "before its first order ended"
            console.print(f"worker {killed + 1}: {fate(status)}, {progress}", highlight=False)
        if status is not None:
            console.print(f"killed {killed} times")
            return status == 0 and worker.ended == total
    return False


def fate(status: int | None) -> str:
    """How a worker ended, in words."""
    if status is None:
        return "killed"
    return "done" if status == 0 else f"FAILED with status {status}"


class Worker:
    """A process that places all orders, as its parent sees it.

    Attributes:
        ended: how many orders had ended when it last said so.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.ended = 0
        chosen = msgspec.json.encode(settings).decode()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "amends.demo", "worker", "--data", str(folder), "--settings", chosen],
            stdout=subprocess.PIPE,
            text=True,
            # Ctrl-C is for the parent, which kills its worker in its own way.
            start_new_session=True,
        )
        self._reports: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="worker-output", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        # Its output ended with it, and so does who reads it.
        self._reader.join()
        assert self._process.stdout is not None  # it was asked for
        self._process.stdout.close()

    def kill_at(self, moment: Moment) -> int | None:
        """Kill it at the moment: None, or the status with which it ended before."""
        if moment.ended is not None:
            self._listen(until=moment.ended)
        try:
            return self._process.wait(moment.after_s)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGKILL)
        status = self._process.wait()
        self._listen()
        return None if status == -signal.SIGKILL else status

    def finish(self) -> int:
        """Let it end by itself: its status."""
        self._listen()
        return self._process.wait(STALL_S)

    def _listen(self, until: int | None = None) -> None:
        """Take its reports until so many orders have ended, or until it has."""
        while until is None or self.ended < until:
            try:
                report = self._reports.get(timeout=STALL_S)
            except queue.Empty:
                raise Stalled(f"the worker said nothing for {STALL_S} s, after {self.ended} orders") from None
            if report is None:
                return
            self.ended = report

    def _read(self) -> None:
        assert self._process.stdout is not None  # it was asked for
        for said in self._process.stdout:
            word, _, number = said.partition(" ")
            # A worker that is killed in the middle of a line says nothing with it.
            if word == ENDED and said.endswith("\n"):
                self._reports.put(int(number))
        self._reports.put(None)


def place_until_killed(folder: Path, settings: Settings) -> None:
    """What a worker does: hand in all orders, and say with each that ends how many have."""
    work = workload(settings)
    tally = Tally(on_end=lambda ended: print(ENDED, ended, flush=True))

    def after_start(order: Order, handle: Handle) -> None:
        shop.kill_someone(order.order_id, handle)

    with Coordinator(folder, settings.plan) as shop:
        stock_up(shop.system, work.stock)
        place_all(shop.submit, work.orders, tally, in_flight=settings.in_flight, after_start=after_start)
