"""amends: durable sagas on supervised actors.

Say what has to happen across your services and how each part is undone; amends sees that
either all of it happens or everything that did is undone, through crashes, lost messages and
services that are down.
"""

from amends.actors.asking import answers
from amends.actors.database import sql_files
from amends.actors.database.port import Database
from amends.actors.finding import Found
from amends.actors.handle import Handle
from amends.actors.handlers import handles, undoes, verifies
from amends.actors.service import Service
from amends.actors.status import Status
from amends.actors.system import System
from amends.protocol.errors import (
    AmendsError,
    BrokerUnavailable,
    DatabaseError,
    HandlerError,
    InputError,
    JournalHeld,
    JournalUnavailable,
    KeyConflict,
    Overloaded,
    PlanError,
    StorageError,
    SystemStopped,
)
from amends.protocol.events import CancelAnswer
from amends.protocol.messages import Done, IdempotencyKey, Later, Refused, Unavailable
from amends.protocol.retry import Retry
from amends.protocol.saga import Results, Saga, pivot, retriable, step
from amends.protocol.state import Compensated, Completed, Outcome

__all__ = [
    "AmendsError",
    "BrokerUnavailable",
    "CancelAnswer",
    "Compensated",
    "Completed",
    "Database",
    "DatabaseError",
    "Done",
    "Found",
    "Handle",
    "HandlerError",
    "IdempotencyKey",
    "InputError",
    "JournalHeld",
    "JournalUnavailable",
    "KeyConflict",
    "Later",
    "Outcome",
    "Overloaded",
    "PlanError",
    "Refused",
    "Results",
    "Retry",
    "Saga",
    "Service",
    "Status",
    "StorageError",
    "System",
    "SystemStopped",
    "Unavailable",
    "answers",
    "handles",
    "pivot",
    "retriable",
    "sql_files",
    "step",
    "undoes",
    "verifies",
]
