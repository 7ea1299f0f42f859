"""Actors and addresses that note what happens to them."""

from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from amends.supervisor.actor import Actor, Exited, Failed, spawn
from amends.supervisor.mailbox import Mailbox
from tests.supervisor.manual import ManualRuntime

WAIT_S = 20.0
"""How long a test waits for another thread before it calls it lost; nothing here takes a fraction of it."""

SECRET = "4111 1111 1111 1111"


class Kept:
    """An address that keeps what it is told."""

    def __init__(self, name: str = "kept") -> None:
        self.name = name
        self.messages: list[Any] = []
        self._fresh: SimpleQueue[Any] = SimpleQueue()

    def tell(self, message: object) -> None:
        self.messages.append(message)
        self._fresh.put(message)

    def take(self) -> Any:
        """The next message not yet taken, once it has come."""
        return self._fresh.get(timeout=WAIT_S)

    @property
    def reports(self) -> list[tuple[str, int, str]]:
        """As a keeper: who ended, which incarnation, and of what."""
        return [
            (m.name, m.incarnation, m.error if isinstance(m, Failed) else "exited")
            for m in self.messages
            if isinstance(m, Failed | Exited)
        ]


Hook = Callable[["Probe"], object]


class Probe(Actor):
    """Writes into `notes` what it does, and does what it is told: a message that can be called is.

    Args:
        notes: outlives it; "start", "settle", "stop", "let go" (or "let go, hung") and each text it is told.
        hooks: what else to do at one of these.
    """

    turn_budget = 3

    def __init__(self, notes: list[str], **hooks: Hook) -> None:
        super().__init__()
        self.notes = notes
        self._hooks = hooks

    def on_start(self) -> None:
        self._note("start")

    def on_receive(self, message: Any) -> Any:
        if callable(message):
            return message(self)
        self._note(message)
        return message

    def settle(self) -> None:
        self._note("settle")

    def on_stop(self) -> None:
        self._note("stop")

    def let_go(self, *, hung: bool) -> None:
        self._note("let go, hung" if hung else "let go")

    def _note(self, what: str) -> None:
        self.notes.append(self.label(what))
        hook = self._hooks.get(what)
        if hook is not None:
            hook(self)

    def label(self, what: str) -> str:
        return what

    def note_ok(self) -> None:
        self._note("ok")


class Unlisted(Probe):
    """A probe that Pykka's registry does not list."""

    registered = False


def fail(probe: Probe) -> None:
    """A message that its reader dies of; the error quotes what nobody may read."""
    raise ValueError(f"card {SECRET}")


def exit_(probe: Probe) -> None:
    """A message that its reader dies of, with what is no Exception."""
    raise SystemExit(SECRET)


class Once:
    """What `act` does, the first time only."""

    def __init__(self, act: Hook) -> None:
        self._act: Hook | None = act

    def __call__(self, probe: Probe) -> None:
        act, self._act = self._act, None
        if act is not None:
            act(probe)


def respawn(runtime: ManualRuntime, box: Mailbox, notes: list[str], times: int = 1) -> None:
    """Start one incarnation after another, each once the last has come to rest."""
    for _ in range(times):
        spawn(box, lambda: Probe(notes))
        runtime.run_until_idle()
