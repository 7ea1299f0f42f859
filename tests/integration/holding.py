"""A process that takes the messages of the service "seats" and never settles one.

python -m tests.integration.holding URL [fork]
"""

import os
import sys
from collections.abc import Callable

from amends.actors.transport.postgres import PostgresQueue
from amends.supervisor.runtime import SystemClock


class Hand:
    """An inbox that only says what came."""

    name = "seats"

    def tell(self, message: object) -> None:
        print("took", flush=True)  # noqa: T201 - it talks to its parent

    def deliver(self, message: object, receipt: Callable[[], None]) -> None:
        self.tell(message)


if __name__ == "__main__":
    line = PostgresQueue(sys.argv[1]).connect("", {"seats": Hand()}, {}, SystemClock())
    line.open()
    if "fork" in sys.argv:
        sys.stdin.readline()
        if os.fork() == 0:
            print("forked", flush=True)  # noqa: T201 - as above
    sys.stdin.read()
