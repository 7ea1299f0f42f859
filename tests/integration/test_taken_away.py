"""A turn that is taken away, or a runtime that is stopped, at the one moment when that is hardest: nothing is lost.

What `real_threads` meets once in ten thousand times is brought about here for certain.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator

import pytest

from amends.supervisor.actor import spawn
from amends.supervisor.mailbox import Letter, Mailbox
from amends.supervisor.runtime import SystemClock
from amends.supervisor.runtimes.pool import Pool
from amends.supervisor.runtimes.threads import Threads
from tests.actors.patience import until
from tests.actors.trip import LONG_S
from tests.actors.world import OneThread
from tests.integration.real_threads import Buried, Note, Unlisted

SOON_S = 3.0
"""Far longer than it takes; a test that fails waits for it."""

MESSAGE: Note = (1, 1)

Meanwhile = Callable[[], None]


class _Letters(deque[Letter]):
    """Something happens right after the first letter was reached for."""

    def __init__(self, letters: Iterable[Letter], meanwhile: Meanwhile) -> None:
        super().__init__(letters)
        self._meanwhile: Meanwhile | None = meanwhile

    def popleft(self) -> Letter:
        letter = super().popleft()
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return letter


class _Taken(list[Letter]):
    """Something happens right before the first letter is laid down."""

    def __init__(self, meanwhile: Meanwhile) -> None:
        super().__init__()
        self._meanwhile: Meanwhile | None = meanwhile

    def append(self, letter: Letter) -> None:
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is not None:
            meanwhile()
        super().append(letter)


class Scene:
    """An actor about to be told one message, and what comes in between."""

    def __init__(self) -> None:
        self.runtime = Threads(SystemClock())
        self.buried = Buried()
        self.box = Mailbox("actor", self.runtime, dead=self.buried)
        self.kept: list[Note] = []
        self.actor = spawn(self.box, lambda: Unlisted(self.kept))
        until(self._is_quiet)

    def close(self) -> None:
        """Its turn is taken away, and its address closed."""
        self._taken_away(self.box.close)

    def replace(self) -> None:
        """Its turn is taken away, and another incarnation reads in its stead."""
        self._taken_away(lambda: spawn(self.box, lambda: Unlisted(self.kept)))

    def _taken_away(self, then: Callable[[], object]) -> None:
        """By another thread, which is there when this returns, if need be waiting for what goes on here."""

        def take_away() -> None:
            self.actor.retire()
            then()

        threading.Thread(target=take_away, daemon=True).start()
        until(lambda: self.actor not in self.box._turn)

    def _is_quiet(self) -> bool:
        return self.box.actor is not None and self.box.actor.begun and not self.box._scheduled.locked()


@pytest.fixture
def scene(nobody_left: None) -> Iterator[Scene]:
    """Its threads end with the test."""
    scene = Scene()
    yield scene
    assert scene.runtime.stop(LONG_S)


def reached_for(box: Mailbox, meanwhile: Meanwhile) -> None:
    """The letter has left the queue and is nowhere yet."""
    box._letters = _Letters((), meanwhile)


def about_to_be_laid_down(box: Mailbox, meanwhile: Meanwhile) -> None:
    """The letter is about to be among those taken."""
    box._taken = _Taken(meanwhile)


at_either_place = pytest.mark.parametrize("place", [reached_for, about_to_be_laid_down])


@at_either_place
def test_closed_while_a_letter_is_reached_for(scene: Scene, place: Callable[[Mailbox, Meanwhile], None]) -> None:
    """It is a dead letter, like all that come too late."""
    place(scene.box, scene.close)
    scene.box.tell(MESSAGE)
    until(lambda: scene.buried.notes == [MESSAGE], SOON_S)
    assert scene.kept == []


@at_either_place
def test_replaced_while_a_letter_is_reached_for(scene: Scene, place: Callable[[Mailbox, Meanwhile], None]) -> None:
    """The next incarnation reads it, without being told anything more."""
    place(scene.box, scene.replace)
    scene.box.tell(MESSAGE)
    until(lambda: scene.kept == [MESSAGE], SOON_S)
    assert scene.buried.notes == []


class _TurnFirst:
    """What tells an actor that it is stopped, once it has begun a turn that nobody knew of."""

    def __init__(self, runtime: OneThread) -> None:
        self._runtime = runtime
        self._is_set = False

    def set(self) -> None:
        self._runtime.turn()
        self._is_set = True

    def is_set(self) -> bool:
        return self._is_set


class SetInTurn(Unlisted):
    """Finds itself stopped as soon as it has read a message."""

    def on_receive(self, message: Note) -> Note:
        self.actor_stopped._is_set = True  # type: ignore[attr-defined]  # as the other thread does now
        return super().on_receive(message)


@pytest.mark.parametrize("then", ["closed", "replaced"])
def test_retired_while_a_turn_begins(nobody_left: None, then: str) -> None:
    """What that turn had read but not settled is read by the next incarnation, or is a dead letter."""
    runtime, buried = OneThread(), Buried()
    box = Mailbox("actor", runtime, dead=buried)
    kept: list[Note] = []
    actor = spawn(box, lambda: SetInTurn(kept))
    runtime.run()
    box.tell(MESSAGE)
    actor.actor_stopped = _TurnFirst(runtime)  # type: ignore[assignment]  # it stands in for the flag
    actor.retire()
    if then == "closed":
        box.close()
    else:
        spawn(box, lambda: Unlisted(kept))
        runtime.run()
        box.close()
    assert [*kept, *buried.notes] == [MESSAGE]
    assert then == "closed" or kept == [MESSAGE]


def test_stopped_while_a_thread_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopping a pool does not fail because one of its threads is only just being made."""
    real = threading.Thread
    failed: list[BaseException] = []
    stopping: list[threading.Thread] = []

    def stop() -> None:
        try:
            pool.stop(LONG_S)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test is to see it
            failed.append(error)

    class Slow(real):  # type: ignore[valid-type,misc]  # mypy can't know that it is one
        """Somebody stops the pool while this is started; where that waits for the start, it does not wait for that."""

        def start(self) -> None:
            stopping.append(other := real(target=stop))
            other.start()
            other.join(0.1)
            super().start()

    pool = Pool(SystemClock())
    with monkeypatch.context() as patch:
        patch.setattr(threading, "Thread", Slow)
        spawn(Mailbox("actor", pool), lambda: Unlisted([]))
    stopping[0].join(LONG_S)
    assert failed == []


def test_stop_waits_for_the_turn_of_a_closed_address(nobody_left: None) -> None:
    """It says True once the last turn is over, also if nobody can write to that actor any more."""
    inside, go = threading.Event(), threading.Event()

    class Hanging(Unlisted):
        """Is in a turn until told otherwise."""

        def on_receive(self, message: Note) -> Note:
            inside.set()
            go.wait(LONG_S)
            return super().on_receive(message)

    runtime = Threads(SystemClock())
    box = Mailbox("hanging", runtime)
    spawn(box, lambda: Hanging([]))
    box.tell(MESSAGE)
    assert inside.wait(LONG_S)
    box.close()
    ended = runtime.stop(0.0)
    go.set()
    assert not ended
