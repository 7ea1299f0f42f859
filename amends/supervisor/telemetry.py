"""The names of what is logged and counted, each with its keys; the only place that writes a log line.

An event is `noun.past_verb`; facts are keys. Error means a person must look, a restart is a
warning, a business no is info. Nothing is printed unless the program that embeds amends sets
up the standard library's logger "amends".
"""

import logging
from typing import Any, Final

import structlog

SAGA_STARTED: Final = "saga.started"  # saga, saga_id, key
SAGA_STEP_DONE: Final = "saga.step_done"  # saga, saga_id, key, step
SAGA_STEP_REFUSED: Final = "saga.step_refused"  # saga, saga_id, key, step, reason
SAGA_STEP_RETRIED: Final = "saga.step_retried"  # saga, saga_id, key, step, attempt, reason
SAGA_STEP_UNDONE: Final = "saga.step_undone"  # saga, saga_id, key, step
SAGA_DECIDED: Final = "saga.decided"  # saga, saga_id, key, direction
SAGA_COMPLETED: Final = "saga.completed"  # saga, saga_id, key
SAGA_COMPENSATED: Final = "saga.compensated"  # saga, saga_id, key, step, reason
SAGA_STUCK: Final = "saga.stuck"  # saga, saga_id, key, step, reason
SAGA_INTERVENED: Final = "saga.intervened"  # saga, saga_id, key, step, action, by
SAGA_QUARANTINED: Final = "saga.quarantined"  # saga_id, reason
SAGA_RECOVERED: Final = "saga.recovered"  # instances
SAGA_ADOPTED: Final = "saga.adopted"  # instances
LEASE_LOST: Final = "lease.lost"  # path, node, token
ACTOR_FAILED: Final = "actor.failed"  # actor, incarnation, error, traceback
ACTOR_RESTARTED: Final = "actor.restarted"  # actor, incarnation
ACTOR_STUCK: Final = "actor.stuck"  # actor, turn_s
SUPERVISOR_GAVE_UP: Final = "supervisor.gave_up"  # supervisor, child, restarts, period_s
MESSAGE_DEAD_LETTERED: Final = "message.dead_lettered"  # actor, message, reason, traceback
HANDLER_FAILED: Final = "handler.failed"  # service, command, saga_id, step, error, traceback
JOURNAL_BLOCKED: Final = "journal.blocked"  # path, reason
JOURNAL_UNBLOCKED: Final = "journal.unblocked"  # path
JOURNAL_SALVAGED: Final = "journal.salvaged"  # path, copy, damage, instances, quarantined
SERVICE_BLOCKED: Final = "service.blocked"  # service, reason
BROKER_CONNECTED: Final = "broker.connected"  # broker
BROKER_LOST: Final = "broker.lost"  # broker, reason, again_s
BROKER_BLOCKED: Final = "broker.blocked"  # broker, reason
BROKER_UNBLOCKED: Final = "broker.unblocked"  # broker
BROKER_FILLED: Final = "broker.filled"  # broker, reason, waiting
BROKER_DRAINED: Final = "broker.drained"  # broker, waiting
MESSAGE_DROPPED: Final = "message.dropped"  # broker, waiting
MESSAGE_REJECTED: Final = "message.rejected"  # queue, reason
MESSAGE_RETURNED: Final = "message.returned"  # queue
PROGRAM_STARTED: Final = "program.started"  # program, http
PROGRAM_SIGNALLED: Final = "program.signalled"  # program, signal
PROGRAM_ENDED: Final = "program.ended"  # program, left_open
REQUEST_FAILED: Final = "request.failed"  # error, traceback

_stdlib = logging.getLogger("amends")
_stdlib.addHandler(logging.NullHandler())

log: structlog.stdlib.BoundLogger = structlog.wrap_logger(
    _stdlib,
    processors=[
        structlog.stdlib.filter_by_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.add_log_level,
        structlog.processors.JSONRenderer(sort_keys=True),
    ],
    wrapper_class=structlog.stdlib.BoundLogger,
)


def wants_info() -> bool:
    """Whether an info event would be seen by anyone; asked first, since this is on the path of every step."""
    return _stdlib.isEnabledFor(logging.INFO)


def info(event: str, **facts: Any) -> None:
    """Log at info."""
    if wants_info():
        log.info(event, **facts)


class Counters:
    """How often things happened since the system started; written by actors, read by anyone.

    Each number has one writer, so none is lost.
    """

    __slots__ = ("dead_letters", "restarts", "retries", "stuck_turns", "undone")

    def __init__(self) -> None:
        self.restarts = 0
        self.dead_letters = 0
        self.retries = 0
        self.stuck_turns = 0
        self.undone = 0
