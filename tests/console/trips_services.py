"""The trip's services as programs have them; a seat for somebody who is "held" waits until the test opens the gate."""

import os
from pathlib import Path

from amends import Done, IdempotencyKey, Service, handles, undoes
from amends.actors.service import ServiceSpec
from tests.actors.trip import EFFECTS, Fares, Script, Seats, TakeFare, Tickets

FOLDER = "TRIPS_FOLDER"


def hold(service: object, name: str) -> None:
    """Say that it has begun, and wait for the other end of a pipe, which comes and goes with the test."""
    if name.startswith("held"):
        folder = Path(os.environ[FOLDER])
        (folder / f"{name}.begun").touch()
        (folder / "gate").read_text()


class PatientSeats(Seats, name="seats", migrations=EFFECTS, handler_timeout_s=60.0):
    """Nobody gives it up."""


class AskedFares(Service, name="fares", migrations=EFFECTS):
    """Asks somebody outside, who takes until the test opens the gate."""

    @handles(TakeFare, outside=True)
    def take(self, command: TakeFare, key: IdempotencyKey) -> Done[int]:
        folder = Path(os.environ[FOLDER])
        with (folder / f"{command.name}.begun").open("a") as calls:
            calls.write("once")
        (folder / "gate").read_text()
        return Done(7)

    @undoes(TakeFare)
    def give_back(self, command: TakeFare, result: int) -> None:
        """Nobody is asked for that."""


SEATS = PatientSeats.spec(Script(seat=hold))
FARES = Fares.spec(Script())


def tickets() -> ServiceSpec:
    """The last of them."""
    return Tickets.spec(Script())
