"""Finding what became of a key, for callers outside: asked of the journal, told as it stands on disk.

Nobody but the journal's actor reads its store while a system runs: the store may be on its way
to be opened again, or on a server. A question waits in the actor's mailbox for that, like every
letter; whoever was told anything before, that a start was accepted or how it was decided, finds it.
"""

from typing import Any

import msgspec

from amends.actors.continuing import Plans, state_of
from amends.actors.journal.messages import History
from amends.protocol.errors import AmendsError
from amends.protocol.messages import SagaId
from amends.protocol.state import Outcome, decided


class Found(msgspec.Struct, frozen=True):
    """The instance that a key belongs to.

    Attributes:
        input: what it was started with, as its saga's `input` type.
        state: "open", "completed", "compensated" or "quarantined".
        decided: how it ends, from the moment that is fixed, while it is still on its way there; None until then. A
            Completed then has the results so far.
    """

    saga_id: SagaId
    input: Any
    state: str
    decided: Outcome | None


def found(plans: Plans, history: History) -> Found:
    """What a history tells, or AmendsError if it can't be trusted or is of a plan that is not at hand."""
    try:
        if history.problem or history.instance is None:
            raise AmendsError(history.problem)
        plan, state = state_of(plans, history.records)
    except AmendsError as error:
        raise AmendsError(f"instance {history.saga_id}: {error}") from None
    return Found(history.saga_id, state.input, history.instance.state, decided(plan, state))
