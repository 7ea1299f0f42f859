"""What the shop's tests share: services over a database, without the engine around them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest

from amends import Service
from amends.demo.faults import FaultPlan, Faults
from tests.conformance.databases import KINDS, a_place

S = TypeVar("S", bound=Service)
Opened = Callable[..., S]


@pytest.fixture(params=KINDS)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[type[S]], S]]:
    """Make a service with its tables in an empty database of either kind; the arguments of `FaultPlan` may follow."""
    with ExitStack() as stack:

        def make(service: type[S], **plan: float) -> S:
            def hang(seconds: float) -> None:
                raise TimeoutError(f"would hang for {seconds} s")

            # An actor is only ever made for a mailbox; a handler needs none, so its service is not made as one.
            made: Any = service.__new__(service)
            made.faults = Faults(FaultPlan(**plan), hang=hang)  # type: ignore[arg-type]
            place = stack.enter_context(a_place(request.param, tmp_path))
            made.db = place.open({"service": service.migrations})
            return cast("S", made)

        yield make
