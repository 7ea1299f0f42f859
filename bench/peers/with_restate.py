"""Restate: a service whose handler runs each step as a durable `ctx.run`, beside Restate's own server.

Written as Restate's documentation has it ("Sagas": terminal errors for a business no, compensations in a list,
run in reverse; a step's undo is on the list before the step runs) and served as it says for production
("Serving": Hypercorn with HTTP/2, its limits lifted, several workers; one here, since more would wait
for each other's SQLite files, and were slower). Clients call the
ingress over HTTP with the order's id as idempotency key ("HTTP"). An order is accepted when a `/send` is answered,
which is what the crash test does; where only speed is measured, one request waits for the outcome.

Settings: the server's defaults, which are those for production: one node with replication 1, 24 partitions, the
logs' write-ahead log forced to the disk (`rocksdb-disable-wal-fsync = false`); telemetry off.
"""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import restate
from restate.exceptions import TerminalError

from bench.peers import work
from bench.peers.databases import run, use
from bench.peers.drive import Place
from bench.peers.flow import Flow, Loop, in_tasks
from bench.peers.work import Function, Order

_PLACE = "AMENDS_BENCH_PLACE"
_WORKERS = 1
_TRIES = 300
_SERVE = """\
bind = "127.0.0.1:{port}"
h2_max_concurrent_streams = 2147483647
keep_alive_max_requests = 2147483647
keep_alive_timeout = 2147483647
workers = {workers}
loglevel = "ERROR"
"""

shop = restate.Service("Shop")
if _PLACE in os.environ:
    # In the process that serves; the driver has no use for them.
    use(os.environ[_PLACE])


def _authorize(order: Order) -> None:
    if not run(work.authorize, order):
        raise TerminalError("the account is empty")


@shop.handler()
async def place(ctx: restate.Context, wanted: dict[str, Any]) -> str:
    order = Order(**wanted)
    undo: list[tuple[str, Function]] = []
    try:
        undo.append(("cancel", work.cancel))
        await ctx.run_typed("create", run, restate.RunOptions(), work.create, order)
        undo.append(("release", work.release))
        await ctx.run_typed("reserve", run, restate.RunOptions(), work.reserve, order)
        await ctx.run_typed("authorize", _authorize, restate.RunOptions(), order)
    except TerminalError:
        for name, function in reversed(undo):
            await ctx.run_typed(name, run, restate.RunOptions(), function, order)
        return "refused"
    await ctx.run_typed("capture", run, restate.RunOptions(), work.capture, order)
    await ctx.run_typed("confirm", run, restate.RunOptions(), work.confirm, order)
    return "completed"


app = restate.app([shop])


class _Restate:
    def __init__(self, place: Place) -> None:
        ingress, admin, port = place.ports
        self._ingress = f"http://127.0.0.1:{ingress}"
        config = Path(place.folder) / "hypercorn.toml"
        config.write_text(_SERVE.format(port=port, workers=_WORKERS), encoding="utf-8")
        command = [sys.executable, "-m", "hypercorn", "--config", str(config), "bench.peers.with_restate:app"]
        self._serving = subprocess.Popen(command, env={**os.environ, _PLACE: place.databases})
        self._loop = Loop()
        self._loop.do(self._register(f"http://127.0.0.1:{admin}", f"http://127.0.0.1:{port}"))

    async def _register(self, admin: str, worker: str) -> None:
        connector = aiohttp.TCPConnector(limit=0)
        self._http = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))
        # A deployment that is registered already would be taken before the workers are there.
        await self._until_ok("get", f"{worker}/health")
        await self._until_ok("post", f"{admin}/deployments", json={"uri": worker})

    async def _until_ok(self, method: str, url: str, **facts: Any) -> None:
        for _ in range(_TRIES):
            try:
                async with self._http.request(method, url, **facts) as answer:
                    if answer.ok:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)
        raise TimeoutError(f"{url}: does not answer")

    def run(self, flow: Flow, in_flight: int) -> None:
        async def place(order: Order) -> None:
            call = f"{self._ingress}/Shop/place"
            facts = {"json": vars(order), "headers": {"idempotency-key": order.order_id}}
            if flow.tell_accepted:
                async with self._http.post(f"{call}/send", **facts) as answer:
                    answer.raise_for_status()
                flow.accepted(order)
            async with self._http.post(call, **facts) as answer:
                answer.raise_for_status()
                await answer.read()

        self._loop.do(in_tasks(flow, in_flight, place))

    def close(self) -> None:
        self._serving.terminate()


def open_peer(place: Place) -> _Restate:
    return _Restate(place)
