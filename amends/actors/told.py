"""What an instance's records tell whoever reads the log."""

from amends.protocol.messages import SagaId
from amends.protocol.records import (
    Decided,
    Direction,
    Ended,
    Intervened,
    Record,
    StepDone,
    StepRefused,
    StepRetried,
    StepStuck,
    StepUndone,
)
from amends.supervisor import telemetry

_EVENTS: dict[type, str] = {
    StepDone: telemetry.SAGA_STEP_DONE,
    StepRefused: telemetry.SAGA_STEP_REFUSED,
    StepRetried: telemetry.SAGA_STEP_RETRIED,
    StepUndone: telemetry.SAGA_STEP_UNDONE,
    StepStuck: telemetry.SAGA_STUCK,
    Decided: telemetry.SAGA_DECIDED,
    Intervened: telemetry.SAGA_INTERVENED,
    Ended: telemetry.SAGA_COMPLETED,
}
_FACTS = ("step", "reason", "attempt", "action", "by")


def log(record: Record, saga: str, saga_id: SagaId, key: str) -> None:
    """Say what a record says."""
    event = _EVENTS.get(type(record))
    if event is None:
        return
    if isinstance(record, Ended) and not record.completed:
        event = telemetry.SAGA_COMPENSATED
    facts = {name: value for name in _FACTS if (value := getattr(record, name, None)) is not None}
    if isinstance(record, Decided):
        facts["direction"] = Direction(record.direction).value
    if isinstance(record, StepStuck):
        telemetry.log.error(event, saga=saga, saga_id=saga_id, key=key, **facts)
    else:
        telemetry.info(event, saga=saga, saga_id=saga_id, key=key, **facts)
