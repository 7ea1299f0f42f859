"""A RabbitMQ of one's own, which may be killed, started again, and filled: other people's is never touched."""

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pika

from amends.demo.cluster.own_postgres import NoServer

# Debian's scripts of these names in /usr/sbin change to the user of the machine's own broker.
_FOLDERS = ("/usr/lib/rabbitmq/bin", *os.environ.get("PATH", "").split(":"))
START_S = 60.0


def binary(name: str) -> str:
    """Where a program of the broker's is; empty if it is nowhere."""
    return next((found for folder in _FOLDERS if (found := shutil.which(name, path=folder))), "")


def _free_port() -> int:
    # Not one of those the system gives to clients: who knocks at such a port before anybody listens may get it himself.
    while True:
        port = random.randrange(20_000, 30_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class OwnBroker:
    """One node, with its files in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._name = f"amends-own-{os.getpid()}@localhost"
        self.port = _free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}"
        for name in ("data", "log"):
            (folder / name).mkdir()
        (folder / "plugins").write_text("[].\n")
        # The log is on the standard output only, which nobody reads: it is a file here.
        (folder / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{self.port}\n")
        self._environment = os.environ | {
            "HOME": str(folder),
            "RABBITMQ_NODENAME": self._name,
            "RABBITMQ_DIST_PORT": str(_free_port()),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self._folder / "out").open("ab") as out:
            self._process = subprocess.Popen(
                [binary("rabbitmq-server")],
                env=self._environment,
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        give_up_s = time.monotonic() + START_S
        while not self._answers():
            said = (self._folder / "out").read_text()[-2000:]
            if self._process.poll() is not None or time.monotonic() > give_up_s:
                raise NoServer(f"rabbitmq-server did not start: {said}")

    def _answers(self) -> bool:
        try:
            made: Any = pika.URLParameters(self.url)
            made.retry_delay, made.connection_attempts = 0.1, 1
            pika.BlockingConnection(made).close()
        except (pika.exceptions.AMQPError, OSError):
            return False
        return True

    def kill(self) -> None:
        """As by a power cut, but for the disk's cache."""
        process, self._process = self._process, None
        if process is not None:
            # Its own session, so nobody else's process is in the group.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def control(self, *command: str) -> None:
        """What an operator does, with the broker's own tool."""
        tool = [binary("rabbitmqctl"), "-q", "-n", self._name, *command]
        subprocess.run(tool, env=self._environment, check=True, capture_output=True, timeout=START_S)
