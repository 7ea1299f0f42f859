"""Programs as they are started: processes of their own, with their logs, their HTTP, and signals."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tests.actors.patience import until
from tests.actors.trip import LONG_S

ROOT = Path(__file__).parents[2]
NODE = "tests.console.trips_node"
SERVICES = "tests.console.trips_services"


class Program:
    """One process; its log is read as it grows."""

    def __init__(self, log: Path, *arguments: str, **environment: str) -> None:
        self._log = log
        self._log.touch()
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "amends.console", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=ROOT,
                env=os.environ | environment,
            )

    # What it says.

    @property
    def said(self) -> str:
        """All it wrote."""
        return self._log.read_text()

    def events(self, event: str) -> list[dict[str, Any]]:
        """The events of one kind that it logged."""
        lines = [json.loads(line) for line in self.said.splitlines() if line.endswith("}")]
        return [line for line in lines if line["event"] == event]

    def event(self, event: str) -> dict[str, Any]:
        """The first event of that kind, once it is there."""
        until(lambda: bool(self.events(event)) or self._has_ended(event))
        return self.events(event)[0]

    def _has_ended(self, awaited: str) -> bool:
        ended = self._process.poll() is not None
        assert not ended or self.events(awaited), f"it has ended, and before it said {awaited}: {self.said}"
        return False

    # What it is asked.

    def get(self, path: str) -> tuple[int, Any]:
        """Status and body of an answer."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: object) -> tuple[int, Any]:
        """The same for a question with a body."""
        return self._ask("POST", path, json.dumps(body))

    def connect(self) -> HTTPConnection:
        """A connection that stays."""
        host, _, port = self.event("program.started")["http"].rpartition(":")
        return HTTPConnection(host, int(port), timeout=LONG_S)

    def _ask(self, method: str, path: str, body: str | None) -> tuple[int, Any]:
        connection = self.connect()
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def book(self, name: str, wait_s: float = 0.0) -> tuple[int, Any]:
        """Start a trip; its name is its key."""
        return self.post("/sagas/book-trip", {"key": name, "input": {"name": name}, "wait_s": wait_s})

    def until_ready(self) -> None:
        """It can do its work."""
        until(lambda: self.get("/ready")[0] == 200)

    # Its end.

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait(LONG_S)

    def status(self) -> int:
        """The exit status it ends with."""
        return self._process.wait(LONG_S)


Start = Callable[..., Program]
