"""Planted bugs: wrong variants of our own code, each of which the simulation has to find.

A test that can't fail proves nothing; so each promise is broken here on purpose, one at a
time, and `campaign.find` says how many histories it takes until somebody notices.
"""

from typing import Final

from tests.stateful.planted import durability, machine, services, supervision
from tests.stateful.planted.bug import Bug, bugs_of

BUGS: Final[dict[str, Bug]] = {
    **bugs_of(machine),
    **bugs_of(durability),
    **bugs_of(services),
    **bugs_of(supervision),
}
"""All of them, by name."""

__all__ = ["BUGS", "Bug"]
