"""What a node of the tests runs; its services are in other processes."""

from tests.actors.trip import BookTrip, Fares, Seats

__all__ = ["SAGAS", "Fares", "Seats"]

# Nothing is known here of the tickets, so they are not checked.
SAGAS = [BookTrip]
