"""What the shop's tests share: services over a database in memory, without the engine around them."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import apsw
import pytest

from amends import Service
from amends.actors.database.sqlite import SqliteDatabase
from amends.demo.faults import FaultPlan, Faults

S = TypeVar("S", bound=Service)
Opened = Callable[..., S]


@pytest.fixture
def opened() -> Callable[[type[S]], S]:
    """Make a service with its tables in an empty database; the arguments of `FaultPlan` may follow."""

    def make(service: type[S], **plan: float) -> S:
        def hang(seconds: float) -> None:
            raise TimeoutError(f"would hang for {seconds} s")

        # An actor is only ever made for a mailbox; a handler needs none, so its service is not made as one.
        made: Any = service.__new__(service)
        made.faults = Faults(FaultPlan(**plan), hang=hang)  # type: ignore[arg-type]
        made.db = SqliteDatabase(apsw.Connection(":memory:"))
        for script in service.migrations["sqlite"]:
            made.db.execute(script)
        return cast("S", made)

    return make
