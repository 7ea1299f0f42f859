"""A chart as SVG: for each line a row, on a logarithmic scale a dot for each number in flight."""

import math
from collections.abc import Sequence
from html import escape

_COLOURS = ("#9ecae1", "#4292c6", "#08519c", "#f16913")
_WIDTH, _LEFT, _RIGHT, _TOP, _ROW = 860, 230, 30, 64, 30
_FONT = 'font-family="system-ui, sans-serif"'


def dots(title: str, unit: str, series: Sequence[str], rows: Sequence[tuple[str, Sequence[float | None]]]) -> str:
    """The chart.

    Args:
        series: what the dots of a row are, in order.
        rows: a name and a value for each series; None where there is none.
    """
    values = [value for _, row in rows for value in row if value]
    low = 10.0 ** math.floor(math.log10(min(values, default=1.0)))
    high = 10.0 ** math.ceil(math.log10(max(values, default=10.0) * 1.01))

    def x(value: float) -> float:
        return _LEFT + (math.log10(value / low) / math.log10(high / low)) * (_WIDTH - _LEFT - _RIGHT)

    bottom = _TOP + _ROW * len(rows)
    height = bottom + 44
    parts = [
        _opening(title, height),
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(16, 24, title, size=15, weight="bold"),
    ]
    for index, name in enumerate(series):
        parts.append(f'<circle cx="{_LEFT + 8 + index * 120}" cy="44" r="5" fill="{_COLOURS[index]}"/>')
        parts.append(_text(_LEFT + 18 + index * 120, 48, name))
    tick = low
    while tick <= high * 1.001:
        parts.append(f'<path d="M{x(tick):.1f} {_TOP}V{bottom}" stroke="#dddddd"/>')
        parts.append(_text(x(tick), bottom + 16, f"{tick:,g}", anchor="middle"))
        tick *= 10
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, bottom + 34, unit, anchor="middle"))
    for number, (name, row) in enumerate(rows):
        y = _TOP + _ROW * number + _ROW / 2
        parts.append(_text(_LEFT - 12, y + 4, name, anchor="end", weight="bold" if name.startswith("amends") else ""))
        found = [x(value) for value in row if value]
        if found:
            parts.append(f'<path d="M{min(found):.1f} {y}H{max(found):.1f}" stroke="#999999"/>')
        for index, value in enumerate(row):
            if value:
                label = escape(f"{name}, {series[index]}: {value:,.0f}")
                dot = f'<circle cx="{x(value):.1f}" cy="{y}" r="5.5" fill="{_COLOURS[index]}">'
                parts.append(f"{dot}<title>{label}</title></circle>")
    return "\n".join([*parts, "</svg>"]) + "\n"


def _opening(title: str, height: int) -> str:
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{escape(title)}">'


def _text(x: float, y: float, text: str, anchor: str = "start", size: int = 12, weight: str = "") -> str:
    bold = f' font-weight="{weight}"' if weight else ""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} {_FONT} font-size="{size}" fill="#222222"{bold}>{escape(text)}</text>'
