"""`python -m bench.peers.drive`: one peer in a process of its own, in its own environment.

It prints one line of JSON for each thing that has happened, which is all that its caller knows of it.

- `measure`: sagas at each level in turn, with a few to warm up.
- `crash`: sagas until it is killed; it appends the id of each order that was accepted to a file.
- `finish`: nothing new; what is open goes on by itself, until standard input ends.
"""

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from bench.peers.flow import Flow
from bench.peers.processes import cpu_s
from bench.peers.work import Order

_WARM_UP, _WARM_UP_IN_FLIGHT = 20, 4
_WARM_UP_S = 5.0
_CRASH_S = 120.0


class Place(NamedTuple):
    """Where a peer works.

    Attributes:
        folder: for files of its own.
        databases: the services', a folder or a PostgreSQL URL.
        variant: which of the module's ways to do it.
        ports: of this machine, which its server has, and what else it needs to be the same after a crash.
    """

    folder: str
    databases: str
    variant: str = ""
    ports: tuple[int, ...] = ()


class Peer(Protocol):
    """A peer, open: what was begun before goes on from now on, where the peer promises that."""

    def run(self, flow: Flow, in_flight: int) -> None:
        """Run sagas until the flow has no more and all have ended or are cut off."""
        ...

    def close(self) -> None: ...


def main(task: str, module: str, place: str, more: str) -> None:
    """Do one task; `place` and `more`, what else it needs, are JSON."""
    where = Place(**json.loads(place))
    peer: Peer = importlib.import_module(f"bench.peers.{module}").open_peer(where)
    _tell(event="open", at=time.time())
    tasks: dict[str, Callable[..., None]] = {"measure": _measure, "crash": _crash, "finish": _finish}
    tasks[task](peer, **json.loads(more))
    # With sagas still cut off in the middle there is nothing that a peer could close in good time.
    os._exit(0)


def _measure(
    peer: Peer, levels: list[int], seconds: float, drain_s: float, drain_each_s: float, servers: list[int]
) -> None:
    """Measure each level.

    Args:
        seconds: how long new sagas are begun.
        drain_s, drain_each_s: how long those that are open then may take, and more for each in flight.
        servers: processes whose time counts, and that of their children, beside this one's.
    """
    processes = [os.getpid(), *servers]
    warm = Flow("warm", _WARM_UP_S, drain_s, _WARM_UP)
    peer.run(warm, _WARM_UP_IN_FLIGHT)
    _tell(event="warm", cut=warm.cell(_WARM_UP_IN_FLIGHT).cut)
    for in_flight in levels:
        began_at, began_cpu_s = time.time(), cpu_s(processes)
        flow = Flow(f"o{in_flight}", seconds, drain_s + in_flight * drain_each_s)
        peer.run(flow, in_flight)
        cell = flow.cell(in_flight)
        used_s = cpu_s(processes) - began_cpu_s
        _tell(event="cell", began_at=began_at, ended_at=time.time(), cpu_s=used_s, **cell._asdict())
    _tell(event="done")


def _crash(peer: Peer, prefix: str, in_flight: int, ledger: str) -> None:
    file = os.open(Path(ledger), os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def accepted(taken: Order) -> None:
        # In one write: whoever reads it after a kill finds whole lines.
        os.write(file, f"{taken.order_id}\n".encode())

    peer.run(Flow(prefix, _CRASH_S, 0.0, accepted=accepted), in_flight)


def _finish(_peer: Peer) -> None:
    sys.stdin.read()


def _tell(**facts: Any) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
