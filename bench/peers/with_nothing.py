"""By hand: plain functions one after the other, from a pool of threads, and one commit for each step.

It keeps no journal and recovers nothing, so it is faster than an honest rival would be; nobody
hears "accepted" before the end.
"""

from bench.peers import work
from bench.peers.databases import Databases
from bench.peers.drive import Place
from bench.peers.flow import Flow, in_threads
from bench.peers.work import Order


class _ByHand:
    def __init__(self, place: Place) -> None:
        self._databases = Databases(place.databases)

    def run(self, flow: Flow, in_flight: int) -> None:
        in_threads(flow, in_flight, self._place)

    def _place(self, order: Order) -> None:
        run = self._databases.run
        run(work.create, order)
        run(work.reserve, order)
        if not run(work.authorize, order):
            run(work.release, order)
            run(work.cancel, order)
            return
        run(work.capture, order)
        run(work.confirm, order)

    def close(self) -> None:
        """Nothing is open between orders."""


def open_peer(place: Place) -> _ByHand:
    return _ByHand(place)
