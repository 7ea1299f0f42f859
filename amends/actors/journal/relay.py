"""What callers ask of instances at another node, and what comes back, as text between two programs of one version."""

from concurrent.futures import Future
from typing import Any, Final

import msgspec

from amends.protocol import codec
from amends.protocol.errors import AmendsError
from amends.protocol.events import CancelAnswer, CancelAsked, Intervention, RetryNow, Skip, SupplyResult
from amends.protocol.messages import SagaId

Wish = CancelAsked | Intervention
"""What may be asked."""

_KINDS: Final = {kind.__name__: kind for kind in (CancelAsked, RetryNow, SupplyResult, Skip)}


class _Answer(msgspec.Struct, frozen=True):
    answer: str | None = None
    error: str | None = None


def not_open(wish: Wish, saga_id: SagaId) -> object:
    """What is answered when the instance is not open, anywhere."""
    return CancelAnswer.ALREADY_ENDED if isinstance(wish, CancelAsked) else f"instance {saga_id} is not open"


def body_of(wish: Wish) -> str:
    """A wish as text."""
    return codec.encode((type(wish).__name__, wish)).decode()


def wish_of(body: str) -> Wish:
    """The wish in a body, or AmendsError if it is of another program."""
    kind, rest = codec.decode(tuple[str, msgspec.Raw], body.encode(), "request")
    if kind not in _KINDS:
        raise AmendsError(f"request: this program knows no {kind!r}")
    wish: Any = codec.decode(_KINDS[kind], rest, "request")
    return wish  # type: ignore[no-any-return]  # one of the kinds


def text_of(future: "Future[Any]") -> str:
    """The answer in a future that is done, as text."""
    error = future.exception()
    return codec.encode(_Answer(error=str(error)) if error else _Answer(answer=future.result())).decode()


def answer_of(wish: Wish, text: str) -> object:
    """The answer to a wish in a text."""
    told = codec.decode(_Answer, text.encode(), "answer")
    if told.error is not None:
        return AmendsError(told.error)
    return CancelAnswer(told.answer or "") if isinstance(wish, CancelAsked) else told.answer
