"""What a program can be asked over HTTP: whether it is well, how it stands, and to run sagas.

Questions and answers are values here; sockets are `web`'s business. A start is idempotent by its
key, so whoever does not hear the answer asks again. No answer and no log line quotes an input.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, NamedTuple
from urllib.parse import unquote

import msgspec

from amends.actors.finding import Found
from amends.actors.status import Status
from amends.actors.system import System
from amends.protocol import codec
from amends.protocol.errors import (
    AmendsError,
    BrokerUnavailable,
    InputError,
    JournalUnavailable,
    KeyConflict,
    Overloaded,
    SystemStopped,
)
from amends.protocol.saga import Saga
from amends.protocol.state import Completed, Outcome

WAIT_S_MAX: Final = 60.0
"""How long a caller may have his start wait for the outcome, in seconds."""

_ACCEPT_S: Final = 10.0
_LOOK_S: Final = 2.0


class Answer(NamedTuple):
    """What is answered: an HTTP status and a body for JSON."""

    status: int
    body: dict[str, Any]


class Start(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a start; `wait_s` is how long to wait for the outcome."""

    key: str
    input: msgspec.Raw
    wait_s: Annotated[float, msgspec.Meta(ge=0, le=WAIT_S_MAX)] = 0.0


class Api:
    """The questions of one program.

    Args:
        sagas: those it runs; of several versions new instances get the newest.
    """

    def __init__(self, system: System, sagas: Sequence[type[Saga]] = ()) -> None:
        self._system = system
        self._sagas = {saga.plan.name: saga for saga in sorted(sagas, key=lambda saga: saga.plan.version)}
        self._draining = False

    def drain(self) -> None:
        """From now on it is not ready: it is about to end."""
        self._draining = True

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        """The answer to one request; `path` has no query."""
        parts = [unquote(part) for part in path.strip("/").split("/")]
        match method, parts:
            case "GET", ["health"]:
                return self._health()
            case "GET", ["ready"]:
                return self._ready()
            case "GET", ["status"]:
                return _or_problem(lambda: Answer(200, msgspec.to_builtins(self._system.status(_LOOK_S))))
            case "POST", ["sagas", name]:
                return _or_problem(lambda: self._start(name, body))
            case "GET", ["sagas", name, key]:
                return _or_problem(lambda: self._find(name, key))
            case "POST", ["sagas", name, key, "cancel"]:
                return _or_problem(lambda: self._cancel(name, key))
            case _, ["health" | "ready" | "status"] | ["sagas", _] | ["sagas", _, _] | ["sagas", _, _, "cancel"]:
                return Answer(405, {"error": f"{method} is not for this path"})
        return Answer(404, {"error": "there is nothing at this path"})

    def _health(self) -> Answer:
        gave_up = self._system.gave_up
        return Answer(503, {"error": f"its supervisors gave up: {gave_up}"}) if gave_up else Answer(200, {})

    def _ready(self) -> Answer:
        if self._draining:
            return Answer(503, {"ready": False, "reasons": ["draining"]})
        try:
            reasons = _not_ready(self._system.status(_LOOK_S))
        except SystemStopped as error:
            reasons = [str(error)]
        except TimeoutError:
            reasons = [f"coordinator: no answer within {_LOOK_S:g} s"]
        return Answer(503 if reasons else 200, {"ready": not reasons, "reasons": reasons})

    def _start(self, name: str, body: bytes) -> Answer:
        saga = self._saga(name)
        start = codec.decode(Start, body, "request")
        try:
            value: object = codec.decode(saga.plan.input, start.input, f"saga {name!r}")
        except InputError as error:
            raise InputError(error.where, error.path.replace("$", "$.input", 1), error.problem) from None
        handle = self._system.submit(saga, value, key=start.key)
        saga_id = handle.accepted(_ACCEPT_S)
        try:
            outcome = handle.result(start.wait_s)
        except (TimeoutError, SystemStopped):
            return Answer(201, {"saga_id": saga_id})
        except AmendsError as error:
            return Answer(500, {"saga_id": saga_id, "error": str(error)})
        return Answer(200, {"saga_id": saga_id, "outcome": _told(outcome)})

    def _find(self, name: str, key: str) -> Answer:
        found = self._found(name, key)
        told: dict[str, Any] = {"saga_id": found.saga_id, "state": found.state}
        if found.decided is not None:
            told["decided" if found.state == "open" else "outcome"] = _told(found.decided)
        return Answer(200, told)

    def _cancel(self, name: str, key: str) -> Answer:
        saga_id = self._found(name, key).saga_id
        return Answer(200, {"saga_id": saga_id, "answer": self._system.cancel(saga_id, _ACCEPT_S).value})

    def _found(self, name: str, key: str) -> Found:
        found = self._system.find(self._saga(name), key, _ACCEPT_S)
        if found is None:
            raise _Missing(f"no instance of saga {name!r} has that key")
        return found

    def _saga(self, name: str) -> type[Saga]:
        saga = self._sagas.get(name)
        if saga is None:
            raise _Missing(f"no saga {name!r}; wanted one of {sorted(self._sagas)}")
        return saga


class _Missing(Exception):  # noqa: N818 - reads as the fact it reports
    """What was asked about is not there."""


def _not_ready(status: Status) -> list[str]:
    reasons = [f"{name}: {why}" for name, why in status.blocked.items()]
    if status.line is not None and not status.line.ready:
        reasons.append("broker: not connected")
    elif status.line is not None and status.line.full:
        reasons.append(f"broker: {status.line.full}")
    if not status.recovered:
        reasons.append("coordinator: open instances are still being taken up")
    return reasons


def _or_problem(ask: Callable[[], Answer]) -> Answer:
    try:
        return ask()
    except _Missing as error:
        return Answer(404, {"error": str(error)})
    except InputError as error:
        return Answer(400, {"error": str(error), "field": error.path})
    except KeyConflict as error:
        return Answer(409, {"error": str(error), "saga_id": error.saga_id})
    except (BrokerUnavailable, JournalUnavailable, SystemStopped) as error:
        return Answer(503, {"error": str(error)})
    except Overloaded as error:
        return Answer(429, {"error": str(error)})
    except TimeoutError:
        return Answer(503, {"error": "no answer in time; what was asked may still happen, so ask with the same key"})
    except AmendsError as error:
        return Answer(500, {"error": str(error)})


def _told(outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, Completed):
        return {"kind": "completed", "results": dict(outcome.results)}
    return {"kind": "compensated", "step": outcome.step, "reason": outcome.reason}
