"""Inside one process a message goes straight to its reader."""

from amends.actors.transport.in_process import InProcess
from amends.protocol.messages import Never, Reply, Undo
from amends.supervisor.mailbox import Address
from tests.actors.world import SAGA, Probe


def test_to_service() -> None:
    """A message is for the service it names."""
    one, two = Probe("one"), Probe("two")
    undo = Undo(service="two", saga_id=SAGA, step="s", attempt=1, token=1)
    assert list(InProcess({"one": one, "two": two}, {}).to_service(undo)) == [(two, undo)]


def test_to_saga_that_is_open() -> None:
    """A reply is for its instance, also for one that was opened since."""
    sagas: dict[object, Address] = {}
    transport = InProcess({}, sagas)  # type: ignore[arg-type]  # ids are strings
    reply = Reply(SAGA, "s", "undo", 1, Never())
    assert list(transport.to_saga(reply)) == []
    sagas[SAGA] = probe = Probe()
    assert list(transport.to_saga(reply)) == [(probe, reply)]
