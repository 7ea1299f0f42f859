"""A network that misbehaves, the same way for the same seed."""

from typing import Any

import pytest

from amends.actors.timers import After
from amends.actors.transport.in_process import InProcess
from amends.protocol.messages import Never, Reply, Undo
from amends.testing.unreliable import unreliable
from tests.actors.world import SAGA, ManualClock, Probe

SERVICE, INSTANCE, TIMERS = Probe("s"), Probe("i"), Probe("t")


def fates(count: int = 1000, seed: int = 1, **shares: float) -> list[list[tuple[Any, Any]]]:
    """What becomes of so many messages, every other one a reply."""
    network = unreliable(seed=seed, **shares)(InProcess({"s": SERVICE}, {SAGA: INSTANCE}), TIMERS, ManualClock())
    undo = Undo(service="s", saga_id=SAGA, step="x", attempt=1, token=1)
    reply = Reply(SAGA, "x", "undo", 1, Never())
    return [list(network.to_saga(reply) if n % 2 else network.to_service(undo)) for n in range(count)]


def test_reliable_without_faults() -> None:
    """With no share of anything, every message arrives once."""
    assert all(len(fate) == 1 and fate[0][0] in (SERVICE, INSTANCE) for fate in fates())


def test_same_seed_same_fates() -> None:
    """A seed replays a run, and another seed gives another."""
    one, same, other = ([len(fate) for fate in fates(seed=seed, lost=0.3, doubled=0.3)] for seed in (1, 1, 2))
    assert one == same != other


@pytest.mark.parametrize("share", [0.2, 1.0])
def test_lost(share: float) -> None:
    """About that share never arrives, of messages as of replies."""
    lost = [not fate for fate in fates(lost=share)]
    for kind in (lost[::2], lost[1::2]):
        assert sum(kind) == pytest.approx(share * len(kind), rel=0.25)


def test_doubled() -> None:
    """About that share arrives twice."""
    assert sum(len(fate) == 2 for fate in fates(doubled=0.3)) == pytest.approx(300, rel=0.25)


def test_delayed() -> None:
    """What is delayed goes through the timers, to whom it was for, within the longest delay."""
    now_at = ManualClock().now_at()
    for (address, after), receiver in zip(
        (f[0] for f in fates(delayed=1.0, delay_s=2.0)), [SERVICE, INSTANCE] * 500, strict=True
    ):
        assert address is TIMERS
        assert isinstance(after, After)
        assert after.address is receiver
        assert 0 <= after.at - now_at <= 2.0
