"""A small program that embeds amends, for tests that kill it, fork it and fill its disk.

python -m tests.integration.program FOLDER MODE [COUNT]
"""

import contextlib
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from amends import AmendsError, Handle, JournalUnavailable, Refused, System
from amends.protocol.messages import SagaId
from tests.actors.trip import LONG_S, BookTrip, Fares, Script, Seats, Tickets, Trip

FARE_REFUSED_EVERY = 3


def names(count: int) -> list[str]:
    """The trips that a program with this count books."""
    return [f"trip-{number}" for number in range(count)]


def _refuse_some(service: object, name: str) -> Refused | None:
    return Refused("no money") if int(name.split("-")[1]) % FARE_REFUSED_EVERY == 0 else None


def system_of(folder: Path, script: Script | None = None) -> System:
    """The program's system."""
    played = script or Script(fare=_refuse_some)
    return System(folder, sagas=[BookTrip], services=[Seats.spec(played), Fares.spec(played), Tickets.spec(played)])


def say(*words: object) -> None:
    """Tell the parent."""
    print(*words, flush=True)  # noqa: T201 - it talks to its parent


def wait_for_a_word() -> None:
    """Until the parent says something, or is gone."""
    sys.stdin.readline()


def work(folder: Path, count: int) -> None:
    """Book every trip, and say with each that ends how many have."""
    ended = 0
    lock = threading.Lock()

    def one_more(_: object) -> None:
        nonlocal ended
        with lock:
            ended += 1
            say("ended", ended)

    with system_of(folder) as system:
        say("open")
        handles = [system.submit(BookTrip, Trip(name), key=name) for name in names(count)]
        for handle in handles:
            handle.add_done_callback(one_more)
        for handle in handles:
            handle.result(LONG_S)


def hold(folder: Path, count: int) -> None:
    """Keep the journal open."""
    with system_of(folder):
        say("open")
        wait_for_a_word()


def exit_without_stop(folder: Path, count: int) -> None:
    """End while sagas run, as if `stop` had never been heard of."""
    system = system_of(folder).open()
    for name in names(count):
        system.start(BookTrip, Trip(name), key=name)
    say("accepted")


def exit_in_a_handler(folder: Path, count: int) -> None:
    """End while a handler waits for what never comes."""
    inside = threading.Event()

    def hang(service: object, name: str) -> None:
        inside.set()
        threading.Event().wait()

    system = system_of(folder, Script(seat=hang)).open()
    system.start(BookTrip, Trip("trip-1"), key="trip-1")
    inside.wait(LONG_S)
    say("accepted")


def fork(folder: Path, count: int) -> None:
    """Fork with the system open; the child may ask for nothing, and takes nothing away by ending."""
    with system_of(folder) as system:
        system.run(BookTrip, Trip("trip-1"), key="trip-1", timeout_s=LONG_S)
        if os.fork() == 0:
            for ask in (
                lambda: system.start(BookTrip, Trip("trip-2"), key="trip-2"),
                system.status,
                system.drain,
                lambda: system.cancel(SagaId("none")),
            ):
                _say_error(ask)
            system.stop()
            sys.exit(0)
        _, status = os.wait()
        say("child", status)
        say("parent", type(system.run(BookTrip, Trip("trip-4"), key="trip-4", timeout_s=LONG_S)).__name__)
        wait_for_a_word()


def _say_error(ask: Callable[[], object]) -> None:
    try:
        ask()
    except AmendsError as error:
        say(type(error).__name__, error)


def fill(folder: Path, count: int) -> None:
    """Book trips on a disk that fills up, and go on when it has space again."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    hold_back = threading.Event()

    def wait(service: object, name: str) -> None:
        hold_back.wait(LONG_S)

    with system_of(folder, Script(ticket=wait)) as system:
        handles: list[Handle] = []
        _limit_files((folder / "journal.db-wal").stat().st_size + 200_000)
        while (refused := _start(system, handles)) is None:
            pass
        say("refused", type(refused).__name__, refused)
        hold_back.set()
        _limit_files(resource.RLIM_INFINITY)
        say("accepted", len(handles))
        for handle in handles:
            handle.result(LONG_S)
        while _start(system, handles) is not None:
            pass  # the journal looks now and then whether there is space
        handles[-1].result(LONG_S)
        say("ended", len(handles))


def _start(system: System, handles: list[Handle]) -> JournalUnavailable | None:
    """Book one trip more, if the journal takes it."""
    name = f"trip-{len(handles)}"
    try:
        handles.append(system.start(BookTrip, Trip(name), key=name))
    except JournalUnavailable as error:
        return error
    return None


def _limit_files(size: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))


MODES = {
    "work": work,
    "hold": hold,
    "exit": exit_without_stop,
    "exit-in-handler": exit_in_a_handler,
    "fork": fork,
    "fill": fill,
}

if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        MODES[sys.argv[2]](Path(sys.argv[1]), int((sys.argv[3:] or ["0"])[0]))
