"""The writes of amends alone: its journal's and fences' rows and the services' functions, one commit where it has one.

It is the floor under amends' own line, and no way to do the work: one thread takes as many orders as are in flight and
brings all of them from step to step, each step a transaction in each file that it writes. Nothing is sent, decided or
looked up. The rows are those that amends itself has written for an order that was completed and for one that was
refused, which it is asked for first, with the ids of other orders in the place of theirs.
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from amends import System
from bench.peers import work
from bench.peers.drive import Place
from bench.peers.flow import Flow
from bench.peers.with_amends import Orders, Payment, PlaceOrder, Stock
from bench.peers.work import Function, Order, order

Row = tuple[Any, ...]

_INSTANCE = "insert into instances values (?, ?, ?, ?, 'open', ?, null)"
_RECORDS = "insert into records values (?, ?, ?, ?, ?, ?, ?)"
_END = "update instances set state = ?, ended_at = ? where saga_id = ?"
_FENCE = "insert or replace into amends_fence values (?, ?, ?, ?, ?, ?, ?, ?, ?)"


class Template(NamedTuple):
    """A row that amends wrote.

    Attributes:
        ids: the columns where its ids stand, alone or in a text.
    """

    row: Row
    ids: tuple[int, ...]


class Sample(NamedTuple):
    """What amends wrote for one order.

    Attributes:
        saga_id, order_id: what other orders have something else for.
        records: of each of the journal's commits.
        fence: by step.
    """

    saga_id: str
    order_id: str
    instance: Template
    records: list[list[Template]]
    fence: dict[str, Template]
    state: str


class Begun(NamedTuple):
    """An order on its way."""

    order: Order
    saga_id: str
    sample: Sample

    def row(self, template: Template) -> Row:
        """What amends would have written for this one."""
        values = list(template.row)
        for column in template.ids:
            named = values[column].replace(self.sample.saga_id, self.saga_id)
            values[column] = named.replace(self.sample.order_id, self.order.order_id)
        return tuple(values)


class _Rows:
    def __init__(self, place: Place) -> None:
        _system(place.databases).open().stop()  # the tables are made
        self._done, self._refused = _samples(Path(place.folder) / "sample")
        self._journal = _opened(place.databases, "journal")
        self._services = {service: _opened(place.databases, service) for service in work.SCHEMAS}
        self._count = 0

    def run(self, flow: Flow, in_flight: int) -> None:
        while taken := [one for one in (flow.take() for _ in range(in_flight)) if one is not None]:
            self._run([self._begin(one) for one in taken])
            for one in taken:
                flow.ended(one)

    def _begin(self, taken: Order) -> Begun:
        self._count += 1
        sample = self._refused if taken.account == "empty" else self._done
        return Begun(taken, f"{self._count:032x}", sample)

    def _run(self, begun: list[Begun]) -> None:
        done = [one for one in begun if one.sample is self._done]
        refused = [one for one in begun if one.sample is self._refused]
        self._log(begun, 0)
        self._do("create", work.create, begun)
        self._do("reserve", work.reserve, begun)
        self._do("authorize", work.authorize, begun)
        self._log(begun, 1)
        self._do("capture", work.capture, done)
        self._do("reserve", work.release, refused)
        self._do("confirm", work.confirm, done)
        self._do("create", work.cancel, refused)
        self._log(begun, 2)

    def _log(self, begun: list[Begun], commit: int) -> None:
        """One commit of the journal: the first one has the instances, too, and the last one their ends."""
        self._journal.execute("begin immediate")
        if commit == 0:
            self._journal.executemany(_INSTANCE, [one.row(one.sample.instance) for one in begun])
        rows = [one.row(template) for one in begun for template in one.sample.records[commit]]
        self._journal.executemany(_RECORDS, rows)
        if commit == 2:
            self._journal.executemany(_END, [(one.sample.state, rows[-1][2], one.saga_id) for one in begun])
        self._journal.execute("commit")

    def _do(self, step: str, function: Function, begun: list[Begun]) -> None:
        """One commit of the step's service: the function of each order, and what the fence remembers of it."""
        if not begun:
            return
        db = self._services[work.SERVICE_OF[function]]
        db.execute("begin immediate")
        for one in begun:
            function(db, one.order)
        db.executemany(_FENCE, [one.row(one.sample.fence[step]) for one in begun])
        db.execute("commit")

    def close(self) -> None:
        """Nothing is open between orders."""


def open_peer(place: Place) -> _Rows:
    return _Rows(place)


def _system(folder: str) -> System:
    return System(folder, sagas=[PlaceOrder], services=[Orders, Stock, Payment])


def _opened(folder: str, name: str) -> apsw.Connection:
    connection = apsw.Connection(str(Path(folder) / f"{name}.db"))
    connection.pragma("synchronous", "full")
    return connection


def _samples(folder: Path) -> Iterator[Sample]:
    """Of an order that is completed, and of one that is refused."""
    orders = (order(0, "sample"), order(work.REFUSED_EVERY - 1, "sample"))
    with _system(str(folder)) as system:
        for one in orders:
            system.run(PlaceOrder, one, key=one.order_id)
    for one in orders:
        yield _sample(str(folder), one.order_id)


def _sample(folder: str, order_id: str) -> Sample:
    found = "select saga_id, saga, version, key, started_at, state from instances where key = ?"
    *instance, state = _rows(folder, "journal", found, order_id)[0]
    saga_id = str(instance[0])

    def template(row: Row) -> Template:
        texts = ((n, v) for n, v in enumerate(row) if isinstance(v, str))
        return Template(row, tuple(n for n, v in texts if saga_id in v or order_id in v))

    records = _rows(folder, "journal", "select * from records where saga_id = ? order by seq", saga_id)
    decided = 1 + next(place for place, record in enumerate(records) if record[4] == "decided")
    commits = [list(map(template, part)) for part in (records[:1], records[1:decided], records[decided:])]
    fence: dict[str, Template] = {}
    for service in work.SCHEMAS:
        for row in _rows(folder, service, "select * from amends_fence where saga_id = ?", saga_id):
            fence[row[1]] = template(row)
    return Sample(saga_id, order_id, template(tuple(instance)), commits, fence, str(state))


def _rows(folder: str, name: str, query: str, value: str) -> list[Row]:
    with closing(_opened(folder, name)) as connection:
        return list(connection.execute(query, (value,)))
