"""Servers that a line needs: each in a folder of its own, on free ports of this machine, and killed in the end."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

import psycopg

from amends.demo.cluster import own_postgres
from bench.peers.processes import group, is_alive, tree

_READY_S = 60.0

STRACE = ("strace", "-f", "--seccomp-bpf", "-ttt", "-e", "trace=fsync,fdatasync", "-o")
"""Writes each force to the disk, with its time, to the file whose name follows."""


class Server:
    """One server, which may be killed and started again on what it has left.

    Args:
        ports: its own and others that go with it.
        user: as whom it runs.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        ready: Callable[[], bool],
        ports: tuple[int, ...],
        environment: dict[str, str] | None = None,
        user: str | None = None,
    ) -> None:
        self.ports = ports
        self._command = list(command)
        self._folder, self._ready = folder, ready
        self._environment, self._user = environment or {}, user
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the process, or of the one that traces it."""
        assert self._process is not None
        return self._process.pid

    def start(self, trace: Path | None = None) -> None:
        """Start it, and wait until it answers; it is traced into that file."""
        command, user = self._command, self._user
        if trace is not None:
            as_user = ["-u", user] if user else []
            command, user = [*STRACE, str(trace), *as_user, "--", *command], None
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env={**os.environ, **self._environment},
                user=user,
                start_new_session=True,
            )
        until_s = time.monotonic() + _READY_S
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > until_s:
                said = (self._folder / "server.log").read_text(encoding="utf-8", errors="replace")[-500:]
                self.kill()
                raise OSError(f"{self._command[0]} did not start: {said}")
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL, and all that descends from it."""
        if self._process is not None:
            kill_all(self._process)
            self._process = None


def kill_all(process: "subprocess.Popen[bytes]") -> None:
    """SIGKILL to a process, all that descend from it, and its group, and wait until they are gone."""
    # PostgreSQL's processes have a group each; what a process that has ended by itself had started has no parent.
    pids = {*tree([process.pid]), *group(process.pid)}
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    while any(is_alive(pid) for pid in pids):
        time.sleep(0.01)


def free_ports(count: int) -> tuple[int, ...]:
    """Ports that nobody has now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = tuple(int(one.getsockname()[1]) for one in sockets)
    for one in sockets:
        one.close()
    return ports


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=1).close()
    except (OSError, urllib.error.URLError):
        return False
    return True


def restate(program: Path, folder: Path) -> Server:
    """Restate's, whose third port is for the service that it calls."""
    ingress, admin, service, node = free_ports(4)
    environment = {
        "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ingress}",
        "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{admin}",
        "RESTATE_BIND_ADDRESS": f"127.0.0.1:{node}",
        "RESTATE_LISTEN_MODE": "tcp",
        "RESTATE_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
    }
    command = [str(program), "--base-dir", str(folder / "restate"), "--no-logo"]

    def ready() -> bool:
        return _answers(f"http://127.0.0.1:{admin}/health") and _answers(f"http://127.0.0.1:{ingress}/restate/health")

    return Server(command, folder, ready, (ingress, admin, service), environment)


def temporal(program: Path, folder: Path) -> Server:
    """Temporal's dev server."""
    port, http, metrics = free_ports(3)
    command = [str(program), "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--log-level", "error"]
    command += ["--port", str(port), "--http-port", str(http), "--metrics-port", str(metrics)]
    command += ["--db-filename", str(folder / "temporal.db")]
    command += ["--sqlite-pragma", "journal_mode=wal", "--sqlite-pragma", "synchronous=full"]
    # It would ask its maker whether there is a newer one.
    quiet = {"TEMPORAL_VERSION_CHECK_DISABLED": "1"}
    return Server(command, folder, lambda: _listens(port), (port,), quiet)


def postgres(folder: Path) -> Server:
    """PostgreSQL with its defaults, its one port the only way in."""
    programs = own_postgres.programs()
    if programs is None:
        raise OSError("no PostgreSQL: install your system's package `postgresql`")
    # It refuses to run as root.
    user = "postgres" if os.geteuid() == 0 else None
    data = folder / "postgres"
    data.mkdir(mode=0o700)
    if user:
        shutil.chown(data, user)
    initdb: list[str | Path] = [programs / "initdb", "-D", data, "--username=postgres", "--auth=trust"]
    subprocess.run(
        [*initdb, "--encoding=UTF8", "--no-locale", "--no-sync"],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=data,
        user=user,
    )
    (port,) = free_ports(1)
    command = [str(programs / "postgres"), "-D", str(data), "-p", str(port)]
    command += ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]

    def ready() -> bool:
        try:
            psycopg.connect(f"postgresql://postgres@127.0.0.1:{port}/postgres?connect_timeout=3").close()
        except psycopg.Error:
            return False
        return True

    return Server(command, folder, ready, (port,), user=user)


def postgres_version() -> str:
    """As it tells itself; empty if it is not there."""
    programs = own_postgres.programs()
    if programs is None:
        return ""
    told = subprocess.run([programs / "postgres", "--version"], stdout=subprocess.PIPE, text=True, check=False).stdout
    return next((word for word in told.split() if word[:1].isdigit()), "")
