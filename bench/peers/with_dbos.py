"""DBOS Transact: a workflow whose steps are checkpointed in its system database.

Written as DBOS's documentation has it ("Learn DBOS Python", "Workflows", "Steps", and the fault-tolerant
checkout of its examples): a workflow function calls steps, and undoes in plain code what was done when the payment
is refused. Started with the order's id as the workflow's ("Workflow IDs and Idempotency"), in the
background, since a queue's workers look for work once a second only. An order is accepted when
`start_workflow` returns.

Settings: the defaults, of which documented for production are PostgreSQL as system database and a pool of 20
connections. But for two, which keep fewer at work than the pool has connections and are worth something with 1,000
in flight: it has no limit to its threads by default, here 16, and not more than 16 clients start workflows at once.
Its default database is a file of SQLite in rollback-journal mode; the variant `wal` is what someone would do who
tunes that, since the mode is a property of the file: DBOS itself has no setting for it. The services' databases are
nothing that DBOS knows of, as for a step that calls another service.
"""

import sqlite3
import threading
from pathlib import Path

from dbos import DBOS, DBOSConfig, SetWorkflowID

from bench.peers import work
from bench.peers.databases import is_url, run, use
from bench.peers.drive import Place
from bench.peers.flow import Flow, in_threads
from bench.peers.work import Order

_THREADS = 16
_STARTERS = 16

_starting = threading.BoundedSemaphore(_STARTERS)


@DBOS.step()
def create(order: Order) -> None:
    run(work.create, order)


@DBOS.step()
def cancel(order: Order) -> None:
    run(work.cancel, order)


@DBOS.step()
def reserve(order: Order) -> None:
    run(work.reserve, order)


@DBOS.step()
def release(order: Order) -> None:
    run(work.release, order)


@DBOS.step()
def authorize(order: Order) -> bool:
    return bool(run(work.authorize, order))


@DBOS.step()
def capture(order: Order) -> None:
    run(work.capture, order)


@DBOS.step()
def confirm(order: Order) -> None:
    run(work.confirm, order)


@DBOS.workflow()
def place_order(order: Order) -> str:
    create(order)
    reserve(order)
    if not authorize(order):
        release(order)
        cancel(order)
        return "refused"
    capture(order)
    confirm(order)
    return "completed"


class _Dbos:
    def __init__(self, place: Place) -> None:
        use(place.databases)
        url = place.databases
        if not is_url(url):
            file = Path(place.folder) / "dbos.sqlite"
            url = f"sqlite:///{file}"
            if place.variant == "wal":
                with sqlite3.connect(file) as db:
                    db.execute("pragma journal_mode = wal")
                db.close()
        config: DBOSConfig = {
            "name": "bench",
            "system_database_url": url,
            "log_level": "ERROR",
            "max_executor_threads": _THREADS,
        }
        DBOS(config=config)
        DBOS.launch()

    def run(self, flow: Flow, in_flight: int) -> None:
        def place(order: Order) -> None:
            with _starting, SetWorkflowID(order.order_id):
                handle = DBOS.start_workflow(place_order, order)
            flow.accepted(order)
            handle.get_result()

        in_threads(flow, in_flight, place)

    def close(self) -> None:
        DBOS.destroy()


def open_peer(place: Place) -> _Dbos:
    return _Dbos(place)
