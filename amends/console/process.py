"""A program's life: a system that runs until it is told to end, or its supervisors give up.

The first SIGTERM or SIGINT drains: nothing new is taken, what is open may end and calls outside may
come back, for a while, and then the system stops, which ends every turn, commits it, and sends what
it told. The second ends the process at once, as SIGKILL would, and then the next one goes on from
what is on disk. Handlers of signals only put a number into a queue, for they run in the middle of
whatever the main thread does.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Final

from amends.actors.system import System
from amends.console.api import Api
from amends.console.web import WebServer
from amends.protocol.errors import SystemStopped
from amends.supervisor import telemetry

STOP_S: Final = 5.0
_LOOK_EVERY_S: Final = 0.5
"""How often it is looked whether the supervisors have given up, in seconds."""

_CALLS_EVERY_S: Final = 0.02
"""How often it is looked whether calls outside have come back, in seconds."""


def run(program: str, system: System, api: Api, web: WebServer | None, drain_s: float) -> None:
    """Open the system, wait for a signal, drain, stop; SystemStopped if the supervisors gave up.

    Args:
        program: what the log calls it.
        drain_s: how long open instances and calls outside are waited for; and then what is in hand, for `STOP_S` at
            least. In seconds.
    """
    with _signals() as told, web or nullcontext():
        system.open()
        try:
            telemetry.log.info(telemetry.PROGRAM_STARTED, program=program, http=web.address if web else None)
            number = _wait(told, system)
            api.drain()
            system.pause()
            telemetry.log.info(telemetry.PROGRAM_SIGNALLED, program=program, signal=signal.Signals(number).name)
            until_s = time.monotonic() + drain_s
            # What is left goes on in the next process, or in another one that adopts it.
            with suppress(TimeoutError):
                system.drain(drain_s)
            while system.calls_outside and time.monotonic() < until_s:
                time.sleep(_CALLS_EVERY_S)
            left_open = _left_open(system)
        finally:
            system.stop(max(drain_s, STOP_S))
        telemetry.log.info(telemetry.PROGRAM_ENDED, program=program, left_open=left_open)


def _wait(told: "SimpleQueue[int]", system: System) -> int:
    """The signal that came; SystemStopped if there is nothing left to wait for."""
    while True:
        with suppress(Empty):
            return told.get(timeout=_LOOK_EVERY_S)
        if system.gave_up:
            raise SystemStopped(f"its supervisors gave up: {system.gave_up}; start it again")


def _left_open(system: System) -> int | None:
    with suppress(TimeoutError):
        return system.status(timeout_s=1.0).open
    return None


@contextmanager
def _signals() -> Iterator["SimpleQueue[int]"]:
    """A queue that gets the first signal to end; the next one ends the process."""
    told: SimpleQueue[int] = SimpleQueue()
    seen = False

    def on_signal(number: int, _frame: FrameType | None) -> None:
        nonlocal seen
        if seen:
            os._exit(128 + number)
        seen = True
        told.put(number)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
