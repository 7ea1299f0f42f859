"""What the tests of the supervisors share: a runtime without threads, mailboxes, and a look at the registry."""

import sys
from collections.abc import Callable, Iterator

import pykka
import pytest

from amends.supervisor.mailbox import Mailbox
from amends.supervisor.runtime import Runtime, SystemClock
from amends.supervisor.runtimes.pool import Pool
from amends.supervisor.runtimes.threads import Threads
from tests.supervisor.manual import ManualRuntime
from tests.supervisor.probe import WAIT_S, Kept

HASTY_S = 1e-6

MakeMailbox = Callable[..., Mailbox]


@pytest.fixture(autouse=True)
def registry() -> Iterator[None]:
    """Whoever ended, in whatever way, is gone from Pykka's registry."""
    yield
    left = pykka.ActorRegistry.get_all()
    for ref in left:
        pykka.ActorRegistry.unregister(ref)
    assert left == []


@pytest.fixture
def hasty() -> Iterator[None]:
    """Threads are interrupted as often as can be, so that whoever may come in between does."""
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(HASTY_S)
    yield
    sys.setswitchinterval(interval_s)


@pytest.fixture
def runtime() -> ManualRuntime:
    """Turns and time by hand."""
    return ManualRuntime()


@pytest.fixture
def notes() -> list[str]:
    """What a probe writes down."""
    return []


@pytest.fixture
def keeper() -> Kept:
    """Whom the mailboxes report to."""
    return Kept("keeper")


@pytest.fixture
def dead() -> Kept:
    """Where the mailboxes' dead letters go."""
    return Kept("dead-letters")


@pytest.fixture
def sink() -> Kept:
    """Somebody to tell things to."""
    return Kept("sink")


@pytest.fixture
def mailbox(runtime: ManualRuntime, keeper: Kept, dead: Kept) -> Iterator[MakeMailbox]:
    """Make a mailbox, on the manual runtime or another one; whoever still reads it at the end is retired."""
    made: list[Mailbox] = []

    def make(name: str = "probe", on: Runtime | None = None) -> Mailbox:
        made.append(Mailbox(name, runtime if on is None else on, keeper=keeper, dead=dead))
        return made[-1]

    yield make
    for box in made:
        if box.actor is not None:
            box.actor.retire()


@pytest.fixture
def pool(mailbox: MakeMailbox) -> Iterator[Pool]:
    """A real pool of one thread, which has to end with the test."""
    pool = Pool(SystemClock())
    yield pool
    assert pool.stop(WAIT_S)


@pytest.fixture
def threads(mailbox: MakeMailbox) -> Iterator[Threads]:
    """Real threads, which have to end with the test."""
    threads = Threads(SystemClock())
    yield threads
    assert threads.stop(WAIT_S)
