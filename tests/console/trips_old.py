"""Services as they were before the trip's sagas asked them for what they do now."""

from amends import Done, Service, handles, undoes
from tests.actors.trip import TakeSeat


class OldFares(Service, name="fares"):
    """Knows of seats only."""

    @handles(TakeSeat)
    def take(self, command: TakeSeat) -> Done[None]:
        return Done()

    @undoes(TakeSeat)
    def give_back(self, command: TakeSeat, result: None) -> None:
        """Nothing was done."""


class OldTickets(Service, name="tickets"):
    """Knows of nothing."""
