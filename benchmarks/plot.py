"""One kind of plot, as SVG: a line per series over batch sizes."""

from collections.abc import Mapping, Sequence
from html import escape
from math import log2

Points = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 190, 34, 40
_COLOURS = ("#0b6e99", "#d9730d", "#0f7b6c", "#9b51e0", "#ad1a72", "#64473a", "#555555")


def line_plot(title: str, y_label: str, series: Mapping[str, Points]) -> str:
    """Return an SVG document with a doubling x axis that starts at 1 and a y axis from 0.

    Args:
        title: Above the plot.
        y_label: What the y axis shows; the x axis is the batch size.
        series: Points (batch, value) by name.
    """
    right = max(x for points in series.values() for x, _ in points)
    top = max(y for points in series.values() for _, y in points) * 1.08
    doublings = max(1.0, log2(right))

    def place(x: float, y: float) -> tuple[float, float]:
        across = _LEFT + (_WIDTH - _LEFT - _RIGHT) * log2(x) / doublings
        return across, _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * y / top

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        _text(_LEFT, 18, title, size=13),
        _text(_LEFT, _HEIGHT - 6, f"batch size → · {y_label} ↑"),
    ]
    for step in range(5):
        value = top * step / 4
        x, y = place(1, value)
        parts.append(
            f'<line x1="{x}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
        )
        parts.append(_text(_LEFT - 6, y + 4, f"{value:.3g}", anchor="end"))
    for power in range(int(doublings) + 1):
        x, y = place(2**power, 0)
        parts.append(_text(x, y + 14, str(2**power), anchor="middle"))
    for index, (name, points) in enumerate(series.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        placed = [place(x, y) for x, y in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in placed]
        parts.append(_text(_WIDTH - _RIGHT + 12, _TOP + 8 + 18 * index, name, colour=colour))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _text(
    x: float, y: float, text: str, *, size: int = 11, anchor: str = "start", colour: str = "#333"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
        f'fill="{colour}">{escape(text)}</text>'
    )
