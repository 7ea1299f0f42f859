"""What a person sees of a cluster: a live table on a terminal, plain lines anywhere else."""

from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from amends.demo.cluster.programs import Machine
from amends.demo.load import Counts

FRAME_S: Final = 0.25
_LINE_EVERY: Final = 16
_STYLES: Final = {"runs": "green", "paused": "yellow", "killed": "red"}


class Board:
    """Shows frames from `with` on; what befalls is a line of its own either way."""

    def __init__(self, console: Console, machines: Sequence[Machine], orders: int) -> None:
        self._console = console
        self._machines = machines
        self._orders = orders
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._frames = 0
        self._last: Counts | None = None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        elif self._last is not None:
            self._print(self._last)

    def show(self, counts: Counts) -> None:
        """Draw a frame."""
        if self._live is not None:
            self._live.update(self._table(counts), refresh=True)
        elif self._frames % _LINE_EVERY == 0:
            self._print(counts)
        self._frames += 1
        self._last = counts

    def _print(self, counts: Counts) -> None:
        self._console.print(f"{counts.elapsed_s:6.1f}s  {self._line(counts)}", highlight=False, soft_wrap=True)

    def _line(self, counts: Counts) -> str:
        open_, not_done = counts.started - counts.ended, counts.ended - counts.completed
        return (
            f"{counts.ended:,} of {self._orders:,} orders ended: {counts.completed:,} completed, {not_done:,} not;"
            f" {open_:,} under way"
        )

    def _table(self, counts: Counts) -> Table:
        table = Table(title=self._line(counts))
        for machine in self._machines:
            table.add_column(f"machine {machine.name}")
            table.add_column("")
        for programs in zip(*(machine.programs for machine in self._machines), strict=True):
            cells = ((p.name, f"[{_STYLES.get(p.state, 'white')}]{p.state}[/]") for p in programs)
            table.add_row(*(text for cell in cells for text in cell))
        return table
