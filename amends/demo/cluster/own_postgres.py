"""A PostgreSQL server of one's own, which may be killed: its data is a folder that goes with it."""

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Self

from amends import AmendsError


class NoServer(AmendsError):  # noqa: N818 - reads as the fact it reports
    """A server of one's own could not be started; the message says why."""


_PLACES = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "opt/homebrew/opt/postgresql*/bin")


def programs() -> Path | None:
    """Where the server's programs are, if they are anywhere."""
    found = shutil.which("initdb")
    if found and shutil.which("pg_ctl"):
        return Path(found).parent
    folders = sorted(program.parent for place in _PLACES for program in Path("/").glob(f"{place}/pg_ctl"))
    return folders[-1] if folders else None


class OwnPostgres:
    """A server on a free port of this machine; as a context it runs inside."""

    def __init__(self) -> None:
        # Not a test's own folder: the server may run as another user, who has to get there.
        self._folder = Path(tempfile.mkdtemp(prefix="amends-postgres-"))
        # It refuses to run as root.
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user is not None:
            shutil.chown(self._folder, self._user)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"postgresql://postgres@127.0.0.1:{port}/postgres?connect_timeout=3"
        self._run("initdb", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync")
        with (self._folder / "postgresql.conf").open("a") as conf:
            conf.write(f"port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\n")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._run("pg_ctl", "--wait", f"--log={self._folder / 'log'}", "start")

    def kill(self) -> None:
        """End it as a crash would: nothing is finished, and the next start recovers."""
        self._run("pg_ctl", "--wait", "--mode=immediate", "stop")

    def restart(self) -> None:
        """As an administrator does: sessions are ended, and it starts anew."""
        self._run("pg_ctl", "--wait", "--mode=fast", f"--log={self._folder / 'log'}", "restart")

    def remove(self) -> None:
        """End it if it runs, and take its folder away."""
        if (self._folder / "postmaster.pid").exists():
            self.kill()
        shutil.rmtree(self._folder)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def _run(self, program: str, *arguments: str) -> None:
        folder = programs()
        if folder is None:
            raise NoServer(f"{program}: not found; install your system's package `postgresql`")
        # A file and no pipe: the server keeps open what it inherits, and a pipe would never end.
        with tempfile.TemporaryFile() as output:
            command: list[str | Path] = [folder / program, "-D", self._folder, *arguments]
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                user=self._user,
                check=False,
            )
            output.seek(0)
            if done.returncode != 0:
                raise NoServer(f"{program} failed: {output.read().decode()}")
