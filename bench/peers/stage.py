"""One line of the comparison, set up: its databases, its server, and the process that drives it.

Everything is in a folder of its own and on ports of its own, and is killed when the stage is left.
"""

import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.peers import environments, servers
from bench.peers.drive import Place
from bench.peers.lines import Line
from bench.peers.processes import memory_mib
from bench.peers.servers import Server, kill_all

_ROOT = Path(__file__).parents[2]
_SAMPLE_S = 0.5


class Failed(Exception):  # noqa: N818 - reads as the fact it reports
    """A line could not do what it was to do; the text says why."""


class Stage:
    """A context; `traced` has every force to the disk written down."""

    def __init__(self, line: Line, *, traced: bool = False) -> None:
        self.line = line
        self.memory_mib = 0.0
        self._python = environments.python_of(line.environment)
        # Not private to us: PostgreSQL's programs may run as another user, who has to get there.
        self.folder = Path(tempfile.mkdtemp(prefix="amends-peers-"))
        self.folder.chmod(0o755)
        self.server: Server | None = None
        self._traces = [self.folder / "driver.trace", self.folder / "server.trace"] if traced else []
        self._driver: subprocess.Popen[bytes] | None = None

    def _server(self) -> Server | None:
        if self.line.on_postgres:
            return servers.postgres(self.folder)
        if self.line.server == "restate":
            return servers.restate(environments.restate_server(), self.folder)
        if self.line.server == "temporal":
            return servers.temporal(environments.temporal_server(), self.folder)
        return None

    @property
    def databases(self) -> str:
        """Where the services' are."""
        if self.line.on_postgres:
            assert self.server is not None
            return f"postgresql://postgres@127.0.0.1:{self.server.ports[0]}/postgres"
        return str(self.folder)

    def __enter__(self) -> Self:
        try:
            self.server = self._server()
            self.start_server()
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill_driver()
        if self.server is not None:
            self.server.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start_server(self) -> None:
        """Start what the line needs, if it needs something."""
        if self.server is not None:
            try:
                self.server.start(self._traces[1] if self._traces else None)
            except OSError as error:
                raise Failed(str(error)) from None

    def drive(self, task: str, **more: Any) -> None:
        """Start the process; see `bench.peers.drive`."""
        place = Place(
            str(self.folder),
            self.databases,
            self.line.variant,
            self.server.ports if self.server is not None else (),
        )
        command = [str(self._python), "-m", "bench.peers.drive", task, self.line.module]
        command += [json.dumps(place._asdict()), json.dumps(more)]
        if self._traces:
            command = [*servers.STRACE, str(self._traces[0]), "--", *command]
        with (self.folder / "driver.log").open("ab") as log:
            self._driver = subprocess.Popen(
                command,
                cwd=_ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
                start_new_session=True,
            )

    def events(self, limit_s: float) -> Iterator[dict[str, Any]]:
        """What the process tells until its last word, memory sampled meanwhile; Failed if it ends before."""
        assert self._driver is not None
        assert self._driver.stdout is not None
        until_s, text = time.monotonic() + limit_s, b""
        while time.monotonic() < until_s:
            readable, _, _ = select.select([self._driver.stdout], [], [], _SAMPLE_S)
            self._sample()
            if not readable:
                continue
            read = os.read(self._driver.stdout.fileno(), 65536)
            if not read:
                raise Failed(f"it ended: {self._said()}")
            *lines, text = (text + read).split(b"\n")
            for line in lines:
                # A peer's own libraries may print too.
                if line.startswith(b'{"event"'):
                    self._sample()
                    yield json.loads(line)
        raise Failed(f"no answer within {limit_s:.0f} s: {self._said()}")

    def kill_driver(self) -> None:
        """SIGKILL to the process and all it has started."""
        if self._driver is not None:
            kill_all(self._driver)
            for pipe in (self._driver.stdin, self._driver.stdout):
                if pipe is not None:
                    pipe.close()
            self._driver = None

    @property
    def server_pids(self) -> list[int]:
        """Whose processor time counts beside the driver's."""
        return [self.server.pid] if self.server is not None else []

    def syncs(self, began_at: float, ended_at: float) -> int:
        """How often something was forced to the disk between two times."""
        return sum(began_at <= at < ended_at for trace in self._traces if trace.exists() for at in _forced(trace))

    def _sample(self) -> None:
        assert self._driver is not None
        self.memory_mib = max(self.memory_mib, memory_mib([self._driver.pid, *self.server_pids]))

    def _said(self) -> str:
        lines = (self.folder / "driver.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return (lines or ["it said nothing"])[-1][:300]


def _forced(trace: Path) -> Iterator[float]:
    for line in trace.read_text(encoding="utf-8", errors="replace").splitlines():
        process, _, rest = line.partition(" ")
        at, _, call = rest.strip().partition(" ")
        if process.isdigit() and call.startswith(("fsync(", "fdatasync(")):
            yield float(at)
