"""How big: many instances waiting, many recovered, and a journal that has grown old."""

import os
import resource
import threading
import time
from pathlib import Path

import apsw
import msgspec

from amends import Done, Results, Retry, Saga, Service, System, Unavailable, handles, step, undoes
from amends.demo.domain import Order
from amends.demo.stocking import stock_up
from amends.demo.systems.coordinator import Coordinator
from amends.testing.unreliable import unreliable
from bench.sagas import place_many
from bench.work import PLAN, Stopwatch, journal_of, orders, stock_for

_MIB = 1024 * 1024
_PAUSE = threading.Event()


class Ask(msgspec.Struct, frozen=True):
    """Asks for something that is not there yet."""

    number: int


class Wanted(msgspec.Struct, frozen=True):
    """The input of an instance that waits."""

    number: int


class Closed(Service, name="closed"):
    """A service that says "later" until `opened` is set."""

    def __init__(self, opened: threading.Event) -> None:
        super().__init__()
        self._opened = opened

    @handles(Ask)
    def ask(self, command: Ask) -> Done[None] | Unavailable:
        return Done() if self._opened.is_set() else Unavailable("closed")

    @undoes(Ask)
    def unask(self, command: Ask, result: None) -> None:
        pass


_PATIENT = Retry(attempts=1_000, base_s=600.0, cap_s=3600.0)


class Wait(Saga, name="wait"):
    """One step, tried again after minutes: meanwhile the instance only waits on a timer."""

    input: Wanted

    @step(to="closed", retry=_PATIENT, timeout_s=3600.0)
    def ask(self, wanted: Wanted, done: Results) -> Ask:
        return Ask(wanted.number)


class Waiting(msgspec.Struct, frozen=True):
    """Instances that wait on a timer: what they cost.

    Attributes:
        threads_before, threads: with none and with all of them.
        rss_mib: what they add to the process's memory.
    """

    instances: int
    threads_before: int
    threads: int
    rss_mib: float
    peak_rss_mib: float
    per_instance_bytes: float


class Recovery(msgspec.Struct, frozen=True):
    """Instances found open at the start.

    Attributes:
        running_s: from `open` until every one of them runs again.
        ended_s: from `open` until every one of them has ended.
    """

    instances: int
    running_s: float
    ended_s: float


class Aging(msgspec.Struct, frozen=True):
    """Time per saga with an empty journal and one of `records` records; pairs of the same measurement."""

    records: int
    fresh_us: float
    old_us: float
    ratio: float


def waiting(folder: Path, count: int) -> Waiting:
    """Start `count` instances that wait and look at the process."""
    with System(folder, sagas=[Wait], services=[Closed.spec(threading.Event())], max_open=count + 1) as system:
        system.start(Wait, Wanted(0))
        before = _rss()
        threads_before = threading.active_count()
        handles = [system.submit(Wait, Wanted(number)) for number in range(1, count)]
        for handle in handles:
            handle.accepted()
        del handles
        while system.status().retries < count:
            _PAUSE.wait(0.1)
        rss = _rss() - before
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return Waiting(count, threads_before, threading.active_count(), rss / _MIB, peak, rss / count)


def recovery(folder: Path, count: int) -> Recovery:
    """Leave `count` instances open with a command each on its way, start again, and see them end."""
    opened = threading.Event()
    opened.set()
    everything_lost = unreliable(seed=1, lost=1.0)
    services = [Closed.spec(opened)]
    with System(folder, sagas=[Wait], services=services, max_open=count, transport=everything_lost) as system:
        for handle in [system.submit(Wait, Wanted(number)) for number in range(count)]:
            handle.accepted()
    began_s = time.perf_counter()
    with System(folder, sagas=[Wait], services=services, max_open=count) as system:
        while not system.status().recovered:
            _PAUSE.wait(0.01)
        running_s = time.perf_counter() - began_s
        system.wait_until_idle()
        return Recovery(count, running_s, time.perf_counter() - began_s)


def aging(folder: Path, records: int, count: int) -> Aging:
    """Time the same orders with a fresh journal and with one that holds `records` records already."""
    placed = orders(3 * count)
    with Coordinator(folder, PLAN) as shop:
        stock_up(shop.system, stock_for(placed))
        place_many(shop.system, placed[:count], 100, Stopwatch())
        fresh = _time(shop.system, placed[count : 2 * count])
    _grow(journal_of(folder), records)
    with Coordinator(folder, PLAN) as shop:
        old = _time(shop.system, placed[2 * count :])
    return Aging(records, fresh, old, old / fresh)


def _time(system: System, placed: list[Order]) -> float:
    watch = Stopwatch()
    place_many(system, placed, 100, watch)
    return 1e6 / watch.timing("amends", 100).rate


def _grow(journal: Path, records: int) -> None:
    """Copy ended instances under new ids until the journal holds `records` records."""
    db = apsw.Connection(str(journal))
    ended = db.execute("select saga_id from instances where state <> 'open'").fetchall()
    held = int(db.execute("select count(*) from records").get)
    number = 0
    with db:
        while held < records:
            for (saga_id,) in ended:
                number += 1
                # Older than all others, as ended instances are, and spread as ids are.
                copy = f"0000{number:028x}"
                db.execute(
                    "insert into instances select ?, saga, version, ?, state, started_at, ended_at"
                    " from instances where saga_id = ?",
                    (copy, copy, saga_id),
                )
                db.execute(
                    "insert into records select ?, seq, at, schema, type, body, checksum from records"
                    " where saga_id = ?",
                    (copy, saga_id),
                )
                held += db.changes()
                if held >= records:
                    break
    db.close()


def _rss() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
