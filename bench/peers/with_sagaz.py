"""Sagaz: a saga class with actions and compensations, its state in SQLite.

Written as Sagaz's documentation has it ("Production-ready Saga pattern with DAG support": the declarative form,
`depends_on` for the order, a `SagaConfig` with a storage). It saves a saga's state when it starts and when it ends.
Nothing in it goes on with a saga that a crash has interrupted, and nobody hears "accepted" before the end.

Settings: its SQLite storage as it is (one connection, rollback journal, `synchronous=FULL`); the services' functions
on a thread pool, as `asyncio.to_thread` has it, since they block.
"""

import asyncio
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

from sagaz import Saga, SagaConfig, action, compensate
from sagaz.core.storage.backends.sqlite import SQLiteSagaStorage

from bench.peers import work
from bench.peers.databases import run, use
from bench.peers.drive import Place
from bench.peers.flow import Flow, Loop, in_tasks
from bench.peers.work import Function, Order


class _Refused(Exception):  # noqa: N818 - reads as the fact it reports
    """The payment is."""


async def _run(function: Function, context: dict[str, Any]) -> Any:
    return await asyncio.to_thread(run, function, Order(**context["order"]))


class PlaceOrder(Saga):
    """One order."""

    saga_name = "place-order"

    @action("create", max_retries=0)
    async def create(self, context: dict[str, Any]) -> dict[str, Any]:
        await _run(work.create, context)
        return {}

    @compensate("create")
    async def cancel(self, context: dict[str, Any]) -> None:
        await _run(work.cancel, context)

    @action("reserve", depends_on=["create"], max_retries=0)
    async def reserve(self, context: dict[str, Any]) -> dict[str, Any]:
        await _run(work.reserve, context)
        return {}

    @compensate("reserve")
    async def release(self, context: dict[str, Any]) -> None:
        await _run(work.release, context)

    @action("authorize", depends_on=["reserve"], max_retries=0)
    async def authorize(self, context: dict[str, Any]) -> dict[str, Any]:
        if not await _run(work.authorize, context):
            raise _Refused
        return {}

    @action("capture", depends_on=["authorize"])
    async def capture(self, context: dict[str, Any]) -> dict[str, Any]:
        await _run(work.capture, context)
        return {}

    @action("confirm", depends_on=["capture"])
    async def confirm(self, context: dict[str, Any]) -> dict[str, Any]:
        await _run(work.confirm, context)
        return {}


class _Sagaz:
    def __init__(self, place: Place) -> None:
        use(place.databases)
        logging.disable(logging.CRITICAL)
        self._loop = Loop()
        self._config = self._loop.do(self._open(Path(place.folder) / "sagaz.db"))

    async def _open(self, file: Path) -> SagaConfig:
        storage = SQLiteSagaStorage(str(file))
        await storage.initialize()
        return SagaConfig(storage=storage)

    def run(self, flow: Flow, in_flight: int) -> None:
        async def place(order: Order) -> None:
            with suppress(_Refused):
                await PlaceOrder(config=self._config).run({"order": vars(order)}, saga_id=order.order_id)

        self._loop.do(in_tasks(flow, in_flight, place))

    def close(self) -> None:
        """Its storage is one connection that ends with the process."""


def open_peer(place: Place) -> _Sagaz:
    return _Sagaz(place)
