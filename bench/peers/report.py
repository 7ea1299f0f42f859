"""What was found, as JSON, and as the part of docs/performance.md between two markers and a chart beside it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.peers import chart

BEGIN, END = "<!-- peers: begin, written by `python3 run.py bench --peers` -->", "<!-- peers: end -->"
PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
_NONE = "-"


def write(figures: dict[str, Any], json_path: Path | None, page: Path | None) -> None:
    """Write the figures where they belong.

    Args:
        json_path: a file for all of them; standard output if there is none.
        page: the page that has the markers, with a chart of its name beside it; None to leave the docs alone.
    """
    text = json.dumps(figures, indent=2)
    if json_path is None:
        print(text)
    else:
        json_path.write_text(text + "\n", encoding="utf-8")
    if page is not None:
        page.write_text(between(page.read_text(encoding="utf-8"), markdown(figures)), encoding="utf-8")
        page.with_suffix(".svg").write_text(drawing(figures), encoding="utf-8")


def between(page: str, text: str) -> str:
    """The page with the text between its markers."""
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"found no {BEGIN!r} with {END!r} after it in the page, wanted both")
    return f"{before}{BEGIN}\n\n{text}\n{END}{after}"


def drawing(figures: dict[str, Any]) -> str:
    """The chart."""
    levels = figures["effort"]["levels"]
    rows = [(line["name"], [_value(line, level, "rate") for level in levels]) for line in figures["lines"]]
    return chart.dots("Order sagas a second", "sagas/s", [f"{level:,} in flight" for level in levels], rows)


def markdown(figures: dict[str, Any]) -> str:
    """The tables."""
    machine, effort, lines = figures["machine"], figures["effort"], figures["lines"]
    levels = effort["levels"]
    heads = [f"{level:,} in flight" for level in levels]
    parts = [
        _began(machine, effort),
        "![Order sagas a second](performance.svg)\n\nNo dot: none had ended in time.",
        "Sagas a second:",
        _table(["", *heads], [[line["name"], *(_rate(line, level) for level in levels)] for line in lines]),
        "How many times their rate amends has on the same kind of database, and how many times its time they take:",
        _beside(lines, levels),
        "Milliseconds from start to outcome, median and 99th percentile:",
        _table(["", *heads], [[line["name"], *(_times(line, level) for level in levels)] for line in lines]),
        "Microseconds of processor time for each saga, of all processes, servers and clients included:",
        _table(["", *heads], [[line["name"], *_all(line, levels, "cpu_us", "{:,.0f}")] for line in lines]),
        "Forces to the disk (`fsync`, `fdatasync`) for each saga:",
        _table(["", *heads], [[line["name"], *_all(line, levels, "syncs_per_saga", "{:.1f}")] for line in lines]),
        "MiB in memory at most, of all processes:",
        _table(["", *heads], [[line["name"], *_all(line, levels, "memory_mib", "{:,.0f}")] for line in lines]),
        "After kills with SIGKILL:",
        _table(_CRASH, [[line["name"], *_crash(line["crash"])] for line in lines if line["crash"]]),
        "Who ran, and how:",
        _table(["", "versions", "settings"], [[line["name"], _versions(line), line["settings"]] for line in lines]),
    ]
    problems = [f"- {line['name']}: {problem}" for line in lines for problem in line["problems"]]
    if problems:
        parts += ["What did not work:", "\n".join(problems)]
    return "\n\n".join(parts) + "\n"


def _began(machine: dict[str, Any], effort: dict[str, Any]) -> str:
    return (
        f"{machine['at'][:10]}, {machine['system']}, {machine['cores']} cores, Python {machine['python']}; load"
        f" {machine['load_before']:.1f} before and {machine['load_after']:.1f} after. Medians of {effort['rounds']}"
        f" round{'s' if effort['rounds'] > 1 else ''}; each cell began sagas for {effort['seconds']:g} s and had"
        f" {effort['drain_s']:g} s more to end them, and {effort['drain_each_s'] * 1e3:g} ms for each in flight. *n*"
        " cut: so many sagas had not ended then, in all rounds; they are in no rate, a time with ≥ is at least that,"
        " and what a saga costs is told only where none was cut."
    )


def _beside(lines: Sequence[dict[str, Any]], levels: list[int]) -> str:
    """Ratios to amends' line on SQLite or on PostgreSQL, of the medians; how long a saga takes, at the first level."""
    ours = {line["on_postgres"]: line for line in lines if line["name"].startswith("amends")}
    rows = []
    for line in lines:
        our = ours.get(line["on_postgres"], line)
        if our is not line:
            rates = [_ratio(_value(our, level, "rate"), _value(line, level, "rate")) for level in levels]
            longer = _ratio(_value(line, levels[0], "p50_ms"), _value(our, levels[0], "p50_ms"))
            rows.append([line["name"], *rates, longer])
    return _table(["", *(f"{level:,} in flight" for level in levels), f"time of one, {levels[0]:,} in flight"], rows)


def _ratio(value: float | None, of: float | None) -> str:
    if not value or not of:
        return _NONE
    return f"{value / of:.2g}" if value < 10 * of else f"{value / of:,.0f}"


_CRASH = [
    "",
    "kills",
    "accepted",
    "completed",
    "undone",
    "lost",
    "half done",
    "doubled",
    "asked again",
    "finished after",
]


def _crash(crash: dict[str, Any]) -> list[str]:
    names = ("kills", "accepted", "completed", "compensated", "lost", "half_done", "doubled", "repeated")
    finish_s = crash["finish_s"]
    return [*(f"{crash[name]:,}" for name in names), f"{finish_s:.1f} s" if finish_s is not None else "never"]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", *("---:" if heads[1] != "versions" else "---" for _ in heads[1:])]
    return "\n".join("| " + " | ".join(row) + " |" for row in (heads, rule, *rows))


def _cell(line: dict[str, Any], level: int) -> dict[str, Any] | None:
    return next((cell for cell in line["cells"] if cell["in_flight"] == level), None)


def _value(line: dict[str, Any], level: int, name: str) -> float | None:
    cell = _cell(line, level)
    return cell[name] if cell is not None else None


def _all(line: dict[str, Any], levels: Sequence[int], name: str, form: str) -> list[str]:
    values = (_value(line, level, name) for level in levels)
    return [form.format(value) if value is not None else _NONE for value in values]


def _told(tell: Callable[[dict[str, Any]], str]) -> Callable[[dict[str, Any], int], str]:
    def told(line: dict[str, Any], level: int) -> str:
        cell = _cell(line, level)
        return tell(cell) if cell is not None else _NONE

    return told


@_told
def _rate(cell: dict[str, Any]) -> str:
    rate = f"{cell['rate']:,.0f}" if cell["sagas"] else "none"
    return rate + (f" ({cell['cut']:,} cut)" if cell["cut"] else "")


@_told
def _times(cell: dict[str, Any]) -> str:
    def time(name: str) -> str:
        return ("≥ " if cell[f"{name}_least"] else "") + _short(cell[f"{name}_ms"])

    return f"{time('p50')} / {time('p99')}"


def _short(milliseconds: float) -> str:
    return f"{milliseconds:.1f}" if milliseconds < 10 else f"{milliseconds:,.0f}"


def _versions(line: dict[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in line["versions"].items())
