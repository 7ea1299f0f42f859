"""The trip's services as programs have them; a seat for somebody who is "held" waits until the test opens the gate."""

import os
from pathlib import Path

from amends.actors.service import ServiceSpec
from tests.actors.trip import EFFECTS, Fares, Script, Seats, Tickets

FOLDER = "TRIPS_FOLDER"


def hold(service: object, name: str) -> None:
    """Say that it has begun, and wait for the other end of a pipe, which comes and goes with the test."""
    if name.startswith("held"):
        folder = Path(os.environ[FOLDER])
        (folder / f"{name}.begun").touch()
        (folder / "gate").read_text()


class PatientSeats(Seats, name="seats", migrations=EFFECTS, handler_timeout_s=60.0):
    """Nobody gives it up."""


SEATS = PatientSeats.spec(Script(seat=hold))
FARES = Fares.spec(Script())


def tickets() -> ServiceSpec:
    """The last of them."""
    return Tickets.spec(Script())
