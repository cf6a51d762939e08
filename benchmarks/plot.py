"""Plots as SVG: lines over batch sizes, and panels above one another over time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import count
from math import log2, log10

Points = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT, _PANEL_HEIGHT = 640, 300, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 190, 34, 40
_COLOURS = ("#0b6e99", "#d9730d", "#0f7b6c", "#9b51e0", "#ad1a72", "#64473a", "#555555")
# Room above the highest point.
_HEADROOM = 1.08


@dataclass(frozen=True)
class Panel:
    """One plot of several that share their x axis.

    Attributes:
        y_label: What the y axis shows.
        series: Points by name.
    """

    y_label: str
    series: Mapping[str, Points]

    @property
    def top(self) -> float:
        """Upper end of the y axis."""
        return max(y for points in self.series.values() for _, y in points) * _HEADROOM

    @property
    def right(self) -> float:
        """Largest x."""
        return max(x for points in self.series.values() for x, _ in points)


@dataclass(frozen=True)
class _Axis:
    """The x axis: where a value lies between 0 and 1, and which values are written below."""

    label: str
    place: Callable[[float], float]
    ticks: Mapping[float, str]


def line_plot(title: str, y_label: str, series: Mapping[str, Points]) -> str:
    """Return an SVG document with a doubling x axis that starts at 1 and a y axis from 0.

    Args:
        title: Above the plot.
        y_label: What the y axis shows; the x axis is the batch size.
        series: Points (batch, value) by name.
    """
    panel = Panel(y_label, series)
    doublings = max(1.0, log2(panel.right))
    ticks = {float(2**power): str(2**power) for power in range(int(doublings) + 1)}
    axis = _Axis("batch size", lambda x: log2(x) / doublings, ticks)
    heights = [panel.top * step / 4 for step in range(5)]
    return _document(title, _HEIGHT, _panel(panel, axis, heights, 0, _HEIGHT, dots=True))


def time_plot(title: str, panels: Sequence[Panel]) -> str:
    """Return an SVG document of panels above one another, with seconds from 0 as x axis.

    Args:
        title: Above the plots.
        panels: Their points are (seconds, value).
    """
    end = max(panel.right for panel in panels)
    ticks = {second: f"{second:g}" for second in _round_steps(end, 8)}
    axis = _Axis("seconds", lambda x: x / end, ticks)
    parts: list[str] = []
    for number, panel in enumerate(panels):
        heights = list(_round_steps(panel.top, 4))
        above = number * _PANEL_HEIGHT
        parts += _panel(panel, axis, heights, above, _PANEL_HEIGHT, dots=False)
    return _document(title, len(panels) * _PANEL_HEIGHT, parts)


def _round_steps(end: float, most: int) -> Iterator[float]:
    """0 and multiples of 1, 2 or 5 times a power of ten, about as many as ``most``, to the end."""
    least = end / most
    power = 10 ** int(log10(least) // 1)
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least)
    for number in count():
        if number * step > end:
            return
        yield number * step


def _panel(
    panel: Panel,
    axis: _Axis,
    heights: Sequence[float],
    above: float,
    height: float,
    dots: bool,
) -> Iterator[str]:
    """The drawing of one panel, ``above`` pixels below the upper edge."""
    bottom, top, end = above + height - _BOTTOM, panel.top, _WIDTH - _RIGHT

    def place(x: float, y: float) -> tuple[float, float]:
        across = _LEFT + (_WIDTH - _LEFT - _RIGHT) * axis.place(x)
        return across, bottom - (height - _TOP - _BOTTOM) * y / top

    yield _text(_LEFT, above + height - 6, f"{axis.label} → · {panel.y_label} ↑")
    for value in heights:
        _, y = place(1, value)
        yield f'<line x1="{_LEFT:.1f}" x2="{end}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
        yield _text(_LEFT - 6, y + 4, f"{value:.3g}", anchor="end")
    for value, label in axis.ticks.items():
        x, y = place(value, 0)
        yield _text(x, y + 14, label, anchor="middle")
    for index, (name, points) in enumerate(panel.series.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        placed = [place(x, y) for x, y in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        if dots:
            yield from (
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in placed
            )
        y = above + _TOP + 8 + 18 * index
        yield _text(_WIDTH - _RIGHT + 12, y, name, colour=colour)


def _document(title: str, height: float, parts: Iterator[str] | Sequence[str]) -> str:
    return (
        "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
                'font-family="sans-serif" font-size="11">',
                f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
                _text(_LEFT, 18, title, size=13),
                *parts,
                "</svg>",
            ]
        )
        + "\n"
    )


def _text(
    x: float, y: float, text: str, *, size: int = 11, anchor: str = "start", colour: str = "#333"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
        f'fill="{colour}">{escape(text)}</text>'
    )
