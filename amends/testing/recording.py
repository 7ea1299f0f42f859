"""A recording: one history as a file, which anybody can run again.

It names the scenario, a function of the form `scenario(schedule, **arguments)`, and holds its
arguments and the schedule as plain JSON.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from amends.protocol import codec
from amends.protocol.errors import InputError
from amends.testing.schedule import Schedule
from amends.testing.system import SimulatedSystem


class Recording(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One history.

    Attributes:
        scenario: "package.module:function".
        arguments: what it gets beside the schedule.
        found: what failed, for whoever reads the file.
    """

    scenario: str
    schedule: Schedule
    arguments: dict[str, Any] = {}
    found: str = ""

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(codec.encode(self), indent=1) + b"\n")

    @classmethod
    def load(cls, path: Path) -> "Recording":
        """Read what `save` wrote, or InputError."""
        return codec.decode(cls, path.read_bytes(), str(path))

    def run(self, schedule: Schedule | None = None) -> SimulatedSystem:
        """The same history again, or the same scenario under another schedule."""
        module, _, function = self.scenario.partition(":")
        try:
            scenario = getattr(import_module(module), function)
        except (ImportError, AttributeError, ValueError) as error:
            raise InputError(
                "recording", "scenario", f"found {self.scenario!r}: {error}; wanted module:function"
            ) from None
        system: SimulatedSystem = scenario(schedule or self.schedule, **self.arguments)
        return system


def replay(path: str | Path) -> SimulatedSystem:
    """Run a recorded history again; it raises what it raised then, if that is still so."""
    return Recording.load(Path(path)).run()
