"""What a person sees."""

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from amends.demo.audit import Finding
from amends.demo.load import Counts
from amends.demo.real_orders import Reading, RefusedLines
from amends.demo.screen import LINE_EVERY, ROWS_SHOWN, Screen, View, show_audit, show_reading, watch

VIEW = View(
    orders=100,
    counts=Counts(60, 50, 45, {"short_stock": 5}, 2.0, 25.0, 0.010, 0.250),
    by_state={"open": 10, "completed": 45, "compensated": 5},
    restarts=3,
    retries=7,
    dead_letters=1,
)


@pytest.fixture
def shown() -> Callable[..., tuple[Console, Callable[[], str]]]:
    """A console and what stands on it."""

    def make(*, terminal: bool = False) -> tuple[Console, Callable[[], str]]:
        file = io.StringIO()
        console = Console(file=file, width=120, force_terminal=terminal, color_system=None)
        return console, file.getvalue

    return make


def test_without_a_terminal_some_frames_and_the_last_become_lines(
    shown: Callable[..., tuple[Console, Callable[[], str]]],
) -> None:
    """A log stays short, and its last line is the end."""
    console, text = shown()
    with Screen(console) as screen:
        for _ in range(LINE_EVERY):
            screen.show(VIEW)
        screen.show(VIEW, last=True)
    lines = text().splitlines()
    assert len(lines) == 2
    assert "50/100 ended  open=10 completed=45 compensated=5  25/s  p50=10ms p99=250ms" in lines[-1]
    assert "restarts=3 retries=7 dead_letters=1" in lines[-1]


def test_on_a_terminal_there_is_a_table(shown: Callable[..., tuple[Console, Callable[[], str]]]) -> None:
    """Orders by state and by reason, rate, latency, restarts, retries."""
    console, text = shown(terminal=True)
    with Screen(console) as screen:
        screen.show(VIEW)
    for part in ("50 of 100 orders ended", "completed", "short_stock", "orders/s", "250 ms", "restarts", "retries"):
        assert part in text()


def test_watching_shows_the_end_and_raises_what_the_work_raised(
    shown: Callable[..., tuple[Console, Callable[[], str]]],
) -> None:
    """An error in the other thread is not lost."""
    console, text = shown()
    watch(lambda: None, lambda: VIEW, Screen(console))
    assert "50/100 ended" in text()

    def fail() -> None:
        raise RuntimeError("in the other thread")

    with pytest.raises(RuntimeError, match="in the other thread"):
        watch(fail, lambda: VIEW, Screen(console))


def test_the_audit_shows_each_check_and_a_bounded_number_of_rows(
    shown: Callable[..., tuple[Console, Callable[[], str]]],
) -> None:
    """A person sees which rows are off; brackets in them are text."""
    console, text = shown()
    rows: list[dict[str, object]] = [{"order_id": f"[o-{n}]"} for n in range(ROWS_SHOWN + 5)]
    show_audit(console, [Finding("one", "Stock adds up", []), Finding("two", "Ledger is balanced", list(rows))])
    assert "Ledger is balanced; 15 rows off" in text()
    assert text().count("order_id=[o-") == ROWS_SHOWN
    assert "WRONG" in text()


def test_a_reading_shows_all_reasons_with_their_examples(
    shown: Callable[..., tuple[Console, Callable[[], str]]],
) -> None:
    """The most frequent one first."""
    console, text = shown()
    refused = {"no user": RefusedLines(1, "line 2: order 7"), "cancellation": RefusedLines(3, "line 1: order C1")}
    show_reading(console, Reading(4, [], refused))
    assert "4 lines: 0 orders, 4 refused" in text()
    assert text().index("cancellation") < text().index("no user")
    assert "line 1: order C1" in text()
