"""Customers of a cluster: each hands in an order at a node over HTTP, and asks until it hears what became of it.

Who hears nothing, or that the node can't now, asks again with the order's number, at the other
node. So every order is handed in at least once, and placed at most once.
"""

import threading
import time
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException
from queue import SimpleQueue
from typing import Any

import msgspec

from amends import AmendsError
from amends.demo.domain import Order
from amends.demo.load import STALL_S, Tally
from amends.demo.stocking import Delivery, Stalled, StockUp
from amends.demo.systems.coordinator import PlaceOrder

WAIT_S = 2.0
"""How long a customer lets a node think about one request."""

_HEAR_S = WAIT_S + 2.0
_AGAIN_S = 0.25
_GIVE_UP_S = 2 * STALL_S

# What a node says that asking again may change; what else is no 200 never will.
_ASK_AGAIN = (201, 429, 500, 503)


class NotTaken(AmendsError):  # noqa: N818 - reads as the fact it reports
    """A node will never take what it was asked."""


class Answer(msgspec.Struct, frozen=True):
    """What became of an order, as its customer heard it."""

    kind: str
    reason: str = ""


class Customers:
    """So many at once, at nodes that may be away.

    Args:
        nodes: where they answer.

    Attributes:
        answers: what was heard, by order.
        requests, asked_again: how often somebody asked, and how many of those were not the first of an order.
    """

    def __init__(self, nodes: Sequence[tuple[str, int]], in_flight: int, tally: Tally) -> None:
        self.answers: dict[str, Answer] = {}
        self.requests = 0
        self.asked_again = 0
        self._nodes = nodes
        self._tally = tally
        self._orders: SimpleQueue[Order | None] = SimpleQueue()
        self._left = threading.Event()
        self._counting = threading.Lock()
        self._threads = [threading.Thread(target=self._serve, args=(n,), daemon=True) for n in range(in_flight)]
        for thread in self._threads:
            thread.start()

    def hand_in(self, orders: Sequence[Order]) -> None:
        """The next orders that customers have."""
        for order in orders:
            self._orders.put(order)

    def stock_up(self, stock: Delivery) -> None:
        """Fill the shelves."""
        self._ask_until_answered(StockUp.plan.name, stock.delivery_id, stock, 0)

    def leave(self) -> None:
        """Nobody asks any more."""
        self._left.set()
        for _ in self._threads:
            self._orders.put(None)

    def _serve(self, number: int) -> None:
        while (order := self._orders.get()) is not None and not self._left.is_set():
            number += 1
            started_s = self._tally.start()
            try:
                answer = self._ask_until_answered(PlaceOrder.plan.name, order.order_id, order, number)
            except AmendsError as error:
                self._tally.end(started_s, f"error: {error}")
                continue
            self.answers[order.order_id] = answer
            completed = answer.kind == "completed"
            self._tally.end(started_s, None if completed else answer.reason.partition(":")[0])

    def _ask_until_answered(self, saga: str, key: str, value: object, turn: int) -> Answer:
        body = msgspec.json.encode({"key": key, "input": value, "wait_s": WAIT_S})
        give_up_s = time.monotonic() + _GIVE_UP_S
        asked = 0
        while time.monotonic() < give_up_s and not self._left.is_set():
            with self._counting:
                self.requests += 1
                self.asked_again += asked > 0
            status, said = _ask(self._nodes[(turn + asked) % len(self._nodes)], f"/sagas/{saga}", body)
            asked += 1
            if status == 200:
                outcome = said["outcome"]
                return Answer(outcome["kind"], outcome.get("reason", ""))
            if status and status not in _ASK_AGAIN:
                raise NotTaken(f"{status}: {said}")
            if status != 201:
                self._left.wait(_AGAIN_S)
        raise Stalled(f"{saga} {key}: no outcome after {asked} requests in {_GIVE_UP_S} s")


def _ask(node: tuple[str, int], path: str, body: bytes) -> tuple[int, Any]:
    """Status and answer; 0 if nothing is heard."""
    connection = HTTPConnection(*node, timeout=_HEAR_S)
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, msgspec.json.decode(answer.read())
    except (OSError, HTTPException, msgspec.DecodeError):
        return 0, None
    finally:
        connection.close()
