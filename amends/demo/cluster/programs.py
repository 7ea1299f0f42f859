"""The programs of a run, as their operator sees them: `amends node` and `amends service`, each a process of its own.

Two machines in small: each has a node, a process of every service, and two wires of its own, to
the broker and to the database, which can be cut. What a program logs is kept in a file.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final

from amends import AmendsError
from amends.demo.cluster.proxy import Proxy
from amends.demo.cluster.servers import Servers
from amends.demo.faults import FaultPlan
from amends.demo.programs import faults_in_environment
from amends.demo.systems.coordinator import SERVICES

MODULE: Final = "amends.demo.programs"
MACHINES: Final = ("a", "b")
NODES: Final = tuple(f"node-{machine}" for machine in MACHINES)

_ASK_S: Final = 3.0
_SAID: Final = 2_000


class ProgramEnded(AmendsError):  # noqa: N818 - reads as the fact it reports
    """A program has ended and nobody had it end."""


class Program:
    """One process, started again whenever its operator wants it.

    Attributes:
        state: "runs", "paused", "killed" or "ended".
        at: host and port where it answers over HTTP.
    """

    def __init__(self, name: str, log: Path, arguments: list[str], environment: dict[str, str]) -> None:
        self.name = name
        self.at = ("127.0.0.1", _free_port())
        self.state = "ended"
        self._log = log
        self._arguments = [*arguments, "--http", f"{self.at[0]}:{self.at[1]}"]
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        # Whoever starts and pauses, and whoever ends all of it after Ctrl-C, are two threads.
        self._turn = threading.Lock()
        self._is_over = False

    def start(self) -> None:
        """Start it, unless all is over."""
        with self._turn, self._log.open("ab") as log:
            if self._is_over:
                return
            self._process = subprocess.Popen(
                [sys.executable, "-m", "amends.console", *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | self._environment,
                # Ctrl-C is for the demo, which ends its programs in its own way.
                start_new_session=True,
            )
            self.state = "runs"

    def kill(self) -> None:
        """End it as no program can prepare for."""
        self._send(signal.SIGKILL, "killed")
        if self._process is not None:
            self._process.wait()

    def pause(self) -> None:
        """Stop it in whatever it does."""
        self._send(signal.SIGSTOP, "paused")

    def go_on(self) -> None:
        """Let it do on."""
        self._send(signal.SIGCONT, "runs")

    def end(self) -> None:
        """Ask it to end."""
        self._send(signal.SIGTERM, "ended")

    def wait(self, timeout_s: float) -> int | None:
        """The status with which it ends; None if it does not."""
        assert self._process is not None
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def over(self) -> None:
        """End it, and never start it again."""
        with self._turn:
            self._is_over = True
        self.kill()

    def _send(self, number: signal.Signals, state: str) -> None:
        with self._turn:
            self.state = state
            if self._process is not None:
                self._process.send_signal(number)

    def look(self) -> None:
        """ProgramEnded if it is not what it should be."""
        process = self._process
        status = process.poll() if process is not None and self.state in ("runs", "paused") else None
        if status is not None and self.state in ("runs", "paused"):
            raise ProgramEnded(f"{self.name} ended with status {status}, and said: {self._log.read_text()[-_SAID:]}")

    @property
    def is_ready(self) -> bool:
        """Whether it says that it can do its work."""
        connection = HTTPConnection(*self.at, timeout=_ASK_S)
        try:
            connection.request("GET", "/ready")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def events(self) -> Iterator[dict[str, Any]]:
        """What it logged, line by line."""
        for line in self._log.read_text(errors="replace").splitlines():
            # The last line of one that was killed may be cut short.
            if line.startswith("{") and line.endswith("}"):
                yield json.loads(line)


class Machine:
    """One machine's programs, and its wires to the servers."""

    def __init__(self, name: str, servers: Servers, plan: FaultPlan, folder: Path) -> None:
        self.name = name
        self.to_broker = Proxy(servers.broker.host, servers.broker.port)
        self.to_database = Proxy(servers.database.host, servers.database.port)
        database = servers.in_schema(servers.database.by(self.to_database.port))
        # In the environment and not in the command, which everybody on the machine can read.
        environment = {
            "AMENDS_BROKER": servers.broker.by(self.to_broker.port),
            "AMENDS_JOURNAL": database,
            "AMENDS_DATABASE": database,
            **faults_in_environment(plan),
        }

        def program(name: str, *arguments: str) -> Program:
            return Program(name, folder / f"{name}.log", [*arguments, "--prefix", servers.run], environment)

        self.node = program(f"node-{name}", "node", MODULE, "--name", f"node-{name}")
        self.services = [
            program(f"{service.name}-{name}", "service", f"{MODULE}:{service.name.upper()}") for service in SERVICES
        ]

    @property
    def programs(self) -> list[Program]:
        return [self.node, *self.services]

    def close(self) -> None:
        """Take the wires away."""
        for wire in (self.to_broker, self.to_database):
            wire.__exit__()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port
