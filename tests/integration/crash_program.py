"""Programs that embed amends and are killed where they are told to, each a fork of one that has imported everything.

    python -m tests.integration.crash_program

reads requests as JSON lines and answers each with the exit status of the process that served
it (negative for a signal). That process has its folder to itself: what it says goes into
`said`, what it complains of into `complained`.
"""

import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from amends import Handle, Refused, System, Unavailable
from tests.actors.trip import LONG_S, BookTrip, Fares, Script, Seats, Tickets, Trip
from tests.integration.crash_points import BY_NAME, arm

COUNT = 20
NAMES = [f"trip-{number}" for number in range(COUNT)]
SAID, COMPLAINED = "said", "complained"


class Request(msgspec.Struct, frozen=True):
    """What one process is to do.

    Attributes:
        point, k: where it kills itself; an empty name is nowhere.
        after_s: how long after its start it is killed; None is never.
    """

    folder: str
    mode: str
    point: str = ""
    k: int = 1
    after_s: float | None = None


def say(*words: object) -> None:
    """Tell the parent, in one write, so that a kill leaves whole lines only."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def _fare() -> Callable[[object, str], object]:
    """Some trips have no money, some have to ask again, and some never get an answer."""
    asked: set[str] = set()

    def act(service: object, name: str) -> object:
        number = int(name.split("-")[1])
        if number % 3 == 0:
            return Refused("no money")
        if number % 7 == 1:
            return Unavailable("nobody is in")
        if number % 5 == 2 and name not in asked:
            asked.add(name)
            return Unavailable("not yet")
        return None

    return act


def _careless_seat(service: object, name: str) -> object:
    """Writes before it says that it can't: the turn is rolled back and run again."""
    if int(name.split("-")[1]) % 10 == 8:
        service.db.execute("insert into effects (what, name) values ('half a seat', ?)", (name,))  # type: ignore[attr-defined]
        return Refused("no seat")
    return None


def system_of(folder: Path) -> System:
    """The program's system."""
    script = Script(fare=_fare(), seat=_careless_seat)
    return System(folder, sagas=[BookTrip], services=[Seats.spec(script), Fares.spec(script), Tickets.spec(script)])


def work(folder: Path) -> None:
    """Book every trip, say what is accepted, cancel some, say how each ended."""
    with system_of(folder) as system:
        handles = {name: system.submit(BookTrip, Trip(name), key=name) for name in NAMES}
        for name, handle in handles.items():
            _say_outcome(name, handle)
        for number, (name, handle) in enumerate(handles.items()):
            say("accepted", name, handle.accepted(LONG_S))
            if number % 4 == 2:
                say("cancel", name, handle.cancel(LONG_S).replace(" ", "-"))
        for handle in handles.values():
            handle.result(LONG_S)


def finish(folder: Path) -> None:
    """Let what is open end without being asked; then book all trips again, in yet another system."""
    with system_of(folder) as system:
        system.wait_until_idle(LONG_S)
        say("left", system.status().quarantined, len(system.status().unreadable), len(system.dead_letters()))
    with system_of(folder) as system:
        handles = {name: system.submit(BookTrip, Trip(name), key=name) for name in NAMES}
        for name, handle in handles.items():
            say("accepted", name, handle.accepted(LONG_S))
            say("told", name, _word(handle.result(LONG_S)))


def _say_outcome(name: str, handle: Handle) -> None:
    handle.add_done_callback(lambda future: say("told", name, _word(future.result())))


def _word(outcome: object) -> str:
    return type(outcome).__name__.lower()


MODES = {"work": work, "finish": finish}


def _serve(request: Request) -> None:
    """In the forked process: do as requested, and end without a word to the parent's own state."""
    folder = Path(request.folder)
    for stream, name in ((1, SAID), (2, COMPLAINED)):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    status = 1
    try:
        if request.point:
            arm(BY_NAME[request.point], request.k)
        MODES[request.mode](folder)
        status = 0
    except BaseException:  # noqa: BLE001 - whatever it is, the parent has to read of it
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _fork_and_wait(request: Request) -> int:
    pid = os.fork()
    if pid == 0:
        _serve(request)

    def kill(*_: Any) -> None:
        os.kill(pid, signal.SIGKILL)

    if request.after_s is not None:
        signal.signal(signal.SIGALRM, kill)
        signal.setitimer(signal.ITIMER_REAL, max(request.after_s, 1e-6))
    # An ended child stays known until it is waited for, so the alarm can't hit somebody else.
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    signal.setitimer(signal.ITIMER_REAL, 0.0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> None:
    """Serve requests until there are no more."""
    assert threading.active_count() == 1
    for line in sys.stdin.buffer:
        status = _fork_and_wait(msgspec.json.decode(line, type=Request))
        os.write(1, b"%d\n" % status)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main()
