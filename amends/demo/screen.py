"""What a person sees: a live table on a terminal, plain lines anywhere else, and the audit at the end.

A frame is drawn when there is something to show, and not more often than `FRAME_S`.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from msgspec import Struct
from rich.console import Console
from rich.live import Live
from rich.table import Table

from amends.demo.audit import Finding
from amends.demo.load import Counts
from amends.demo.real_orders import Reading

FRAME_S = 0.25
LINE_EVERY = 8
"""Without a terminal, one frame of so many becomes a line."""

ROWS_SHOWN = 10


class View(Struct, frozen=True):
    """One frame: what the customers see, and what the system says of itself."""

    orders: int
    counts: Counts
    by_state: dict[str, int]
    restarts: int
    retries: int
    dead_letters: int


class Screen:
    """Shows frames from `with` on."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._frames = 0

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, view: View, *, last: bool = False) -> None:
        """Draw a frame; the last one is always drawn."""
        if self._live is not None:
            self._live.update(live_table(view), refresh=True)
        elif last or self._frames % LINE_EVERY == 0:
            self._console.print(line(view), highlight=False, soft_wrap=True)
        self._frames += 1


def watch(work: Callable[[], None], view: Callable[[], View], screen: Screen) -> None:
    """Do the work in a thread of its own and show how it goes until it has ended; its error is raised here."""
    errors: list[Exception] = []
    done = threading.Event()

    def run() -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - raised again by the one who waits
            errors.append(error)
        finally:
            done.set()

    # A daemon: whoever presses Ctrl-C does not want to wait for it.
    threading.Thread(target=run, name="customers", daemon=True).start()
    while not done.wait(FRAME_S):
        screen.show(view())
    if errors:
        raise errors[0]
    screen.show(view(), last=True)


def live_table(view: View) -> Table:
    """The frame as a table."""
    counts = view.counts
    table = Table(title=f"{counts.ended:,} of {view.orders:,} orders ended")
    for column in ("orders by state", "count", "system", "value"):
        table.add_column(column, justify="right" if column in ("count", "value") else "left")
    states = [(state, f"{count:,}") for state, count in view.by_state.items()]
    states += [(f"  {reason}", f"{count:,}") for reason, count in counts.reasons.items()]
    system = [
        ("orders/s", f"{counts.rate:,.0f}"),
        ("latency p50", f"{counts.p50_s * 1000:,.0f} ms"),
        ("latency p99", f"{counts.p99_s * 1000:,.0f} ms"),
        ("restarts", f"{view.restarts:,}"),
        ("retries", f"{view.retries:,}"),
        ("dead letters", f"{view.dead_letters:,}"),
        ("time", f"{counts.elapsed_s:.1f} s"),
    ]
    height = max(len(states), len(system))
    states += [("", "")] * (height - len(states))
    system += [("", "")] * (height - len(system))
    for left, right in zip(states, system, strict=True):
        table.add_row(*left, *right)
    return table


def line(view: View) -> str:
    """The frame as one line."""
    counts = view.counts
    states = " ".join(f"{state}={count}" for state, count in view.by_state.items())
    return (
        f"{counts.elapsed_s:6.1f}s  {counts.ended}/{view.orders} ended  {states}  {counts.rate:.0f}/s  "
        f"p50={counts.p50_s * 1000:.0f}ms p99={counts.p99_s * 1000:.0f}ms  "
        f"restarts={view.restarts} retries={view.retries} dead_letters={view.dead_letters}"
    )


def show_reasons(console: Console, counts: Counts) -> None:
    """Why orders did not complete."""
    if counts.reasons:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in counts.reasons.items())
        console.print(f"not completed: {reasons}", highlight=False, soft_wrap=True)


def show_counts(console: Console, counts: Counts, numbers: Mapping[str, object]) -> None:
    """How many orders ended how, and how fast; then what else there is to tell."""
    console.print(
        f"{counts.ended:,} orders in {counts.elapsed_s:.1f} s, {counts.rate:,.0f} a second; "
        f"{counts.completed:,} completed; from start to answer p50 {counts.p50_s * 1000:,.0f} ms, "
        f"p99 {counts.p99_s * 1000:,.0f} ms",
        highlight=False,
        soft_wrap=True,
    )
    show_reasons(console, counts)
    for what, value in numbers.items():
        console.print(f"{what}: {value}", highlight=False, markup=False, soft_wrap=True)


def show_reading(console: Console, reading: Reading) -> None:
    """What became of the lines of a file of orders."""
    refused = reading.lines - len(reading.orders)
    console.print(
        f"{reading.lines:,} lines: {len(reading.orders):,} orders, {refused:,} refused"
        " (a line counts once for each of its reasons)",
        highlight=False,
        soft_wrap=True,
    )
    table = Table("refused because", "lines", "the first one")
    for reason, lines in sorted(reading.refused.items(), key=lambda entry: -entry[1].count):
        table.add_row(reason, f"{lines.count:,}", plain(lines.example))
    if refused:
        console.print(table)


def show_audit(console: Console, findings: Sequence[Finding]) -> None:
    """The result of each check, then the rows that can't be."""
    table = Table("audit, read from the databases", "rows off", "")
    for finding in findings:
        table.add_row(finding.title, str(len(finding.rows)), "[red]WRONG[/]" if finding.rows else "[green]ok[/]")
    console.print(table)
    for finding in findings:
        if not finding.rows:
            continue
        console.print(f"{finding.title}; {len(finding.rows)} rows off, the first of them:", style="red", markup=False)
        for row in finding.rows[:ROWS_SHOWN]:
            facts = "  ".join(f"{name}={value}" for name, value in row.items())
            console.print(f"  {facts}", highlight=False, markup=False, soft_wrap=True)


def plain(text: str) -> str:
    """Text in which square brackets are no markup."""
    return text.replace("[", r"\[")
