"""A transport that loses, doubles and delays messages, as a network would.

What happens to the n-th message is a pure function of the seed and n; delays go through the
timers. Every message may be hit, replies too.
"""

import random
from collections.abc import Iterable
from itertools import count

from amends.actors.system import Wrap
from amends.actors.timers import After
from amends.actors.transport.port import Delivery, Transport
from amends.protocol.messages import Message, Reply
from amends.supervisor.mailbox import Address
from amends.supervisor.runtime import Clock


def unreliable(
    *, seed: int, lost: float = 0.0, doubled: float = 0.0, delayed: float = 0.0, delay_s: float = 0.3
) -> Wrap:
    """For `System(transport=...)`.

    Args:
        lost, doubled, delayed: the share of messages each happens to, from 0 to 1.
        delay_s: the longest delay, in seconds.
    """
    return lambda inner, timers, clock: _Unreliable(inner, timers, clock, seed, lost, doubled, delayed, delay_s)


class _Unreliable:
    def __init__(
        self,
        inner: Transport,
        timers: Address,
        clock: Clock,
        seed: int,
        lost: float,
        doubled: float,
        delayed: float,
        delay_s: float,
    ) -> None:
        self._inner = inner
        self._timers = timers
        self._clock = clock
        self._seed = seed
        self._lost, self._doubled, self._delayed = lost, doubled, delayed
        self._delay_s = delay_s
        self._numbers = count()

    @property
    def full(self) -> str:
        return self._inner.full

    def to_service(self, message: Message) -> Iterable[Delivery]:
        return self._spoil(self._inner.to_service(message))

    def to_saga(self, reply: Reply) -> Iterable[Delivery]:
        return self._spoil(self._inner.to_saga(reply))

    def _spoil(self, deliveries: Iterable[Delivery]) -> Iterable[Delivery]:
        dice = random.Random(f"{self._seed}/{next(self._numbers)}")
        spoiled: list[Delivery] = []
        for address, message in deliveries:
            if dice.random() < self._lost:
                continue
            for _ in range(2 if dice.random() < self._doubled else 1):
                if dice.random() < self._delayed:
                    at = self._clock.now_at() + dice.random() * self._delay_s
                    spoiled.append((self._timers, After(at, address, message)))
                else:
                    spoiled.append((address, message))
        return spoiled
