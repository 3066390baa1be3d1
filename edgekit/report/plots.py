"""Plots for pages: real text, colours of the page's style sheet, no script. Matplotlib draws.

Every plot is drawn 380 units wide, about the width of a phone, with letters of 11 units: on a phone
they are readable without a second drawing, on a desk two plots stand side by side.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.errors import SetupError
from edgekit.report.svg import GROUND, INK, LINE, QUIET, SERIES, to_svg
from edgekit.report.words import clean
from edgekit.types import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 380
MARKERS = ("o", "s", "D", "^", "v", "P")
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 11.0,
    "text.color": INK,
    "axes.labelcolor": QUIET,
    "axes.edgecolor": LINE,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "axes.labelsize": 11.0,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": QUIET,
    "ytick.labelcolor": QUIET,
    "xtick.labelsize": 10.0,
    "ytick.labelsize": 10.0,
    "figure.facecolor": "none",
}
_RIGHT, _BOTTOM = 6, 38
"""What numbers and words need beside and below the axes."""
_MOST_BINS = 40
_MOST_POINTS = 400
_WIDE = 8.0
"""Positive values that differ by more than this factor are drawn on a logarithmic axis."""
_LABEL_GAP = 14.0
_ALL = 1 + 1e-9
_PLATE = {"facecolor": GROUND, "edgecolor": "none", "pad": 0.6}
"""Below text, so that no line runs through it."""


@dataclass(frozen=True, kw_only=True)
class PlotPoint:
    """A candidate in `tradeoff`, or a figure in `forest`.

    Attributes:
        name: of the candidate.
        place: in the order of candidates, which decides colour and marker.
        x, x_high: where it stands, and how far the line to the right goes.
        y, interval: the figure, and where it may lie.
        title: what the pointer finds out.
    """

    name: str
    place: int
    x: float = 0.0
    x_high: float | None = None
    y: float
    interval: Interval | None = None
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class Series:
    """Values of a candidate, in no order (`distributions`) or in that of the layers (`lines`).

    ``note`` stands beside the name, ``title`` is what the pointer finds out.
    """

    name: str
    place: int
    values: Sequence[float]
    note: str = ""
    title: str = ""


def require() -> None:
    """Make sure, before long work, that plots can be drawn.

    Raises:
        SetupError: Matplotlib is not installed.
    """
    try:
        import matplotlib as mpl  # noqa: F401
    except ImportError as error:
        raise SetupError(
            "The HTML report needs Matplotlib, which is not installed.",
            cure="pip install 'edgekit-tflite[report]', or ask for JSON, which needs nothing.",
        ) from error


def tradeoff(
    points: Sequence[PlotPoint],
    *,
    y_label: str,
    percent: bool,
    title: str,
    reference: float | None = None,
) -> str:
    """A figure against latency, with bars for the interval and for p50 to p90."""
    with _figure(270, left=60) as (figure, axes):
        shown: dict[str, str] = {}
        for point in points:
            color, marker = _look(point.place)
            bars: dict[str, Any] = {}
            if point.interval is not None:
                bars["yerr"] = [
                    [max(0.0, point.y - point.interval.low)],
                    [max(0.0, point.interval.high - point.y)],
                ]
            if point.x_high is not None:
                bars["xerr"] = [[0.0], [max(0.0, point.x_high - point.x)]]
            drawn = axes.errorbar(
                point.x, point.y, **bars, color=color, marker=marker, markersize=8, capsize=3,
                elinewidth=1.6, linestyle="none",
            )  # fmt: skip
            shown[_tip(drawn.lines[0], len(shown))] = point.title
        _stretch(axes.set_xscale, [point.x for point in points])
        if reference is not None:
            axes.axhline(reference, color=QUIET, linewidth=1.2, dashes=(5, 4), zorder=1.2)
        axes.margins(x=0.18, y=0.16)
        if percent and max(point.y for point in points) <= _ALL:
            axes.set_ylim(top=min(axes.get_ylim()[1], 1.02))
        _numbers(axes, "x")
        _numbers(axes, "y", percent=percent)
        axes.set_xlabel("latency, ms (p50, bar to p90)")
        axes.set_ylabel(y_label)
        _labels_beside(figure, axes, points)
        if reference is not None:
            axes.annotate(
                "reference", (_free(axes, points), reference), fontsize=10, color=QUIET,
                xycoords=axes.get_yaxis_transform(), xytext=(0, 4), textcoords="offset points",
                ha="center", zorder=1.4,
            )  # fmt: skip
        return to_svg(figure, title, shown)


def forest(
    points: Sequence[PlotPoint],
    *,
    x_label: str,
    percent: bool,
    title: str,
    limit: float | None = None,
) -> str:
    """A figure of each candidate with its interval, one below the other, and a limit as a line."""
    with _figure(70 + 34 * len(points), top=18) as (figure, axes):
        shown: dict[str, str] = {}
        for row, point in enumerate(reversed(points)):
            color, marker = _look(point.place)
            if point.interval is not None:
                axes.plot(
                    [point.interval.low, point.interval.high], [row, row], color=color,
                    linewidth=2.2, solid_capstyle="butt",
                )  # fmt: skip
            (mark,) = axes.plot(point.y, row, color=color, marker=marker, markersize=8)
            shown[_tip(mark, row)] = point.title
            _row_name(axes, point.name, row + 0.24)
        axes.set_ylim(-0.45, len(points) - 0.2)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.margins(x=0.1)
        axes.axvline(0, color=QUIET, linewidth=1)
        if limit is not None:
            axes.axvline(limit, color=INK, linewidth=1.4, dashes=(5, 4))
            axes.annotate(
                "limit", (limit, 1), xycoords=axes.get_xaxis_transform(), xytext=(0, 3),
                textcoords="offset points", ha="center", fontsize=10,
            )  # fmt: skip
        _numbers(axes, "x", percent=percent)
        axes.set_xlabel(x_label)
        return to_svg(figure, title, shown)


def distributions(
    rows: Sequence[Series],
    *,
    x_label: str,
    title: str,
    quantiles: Sequence[float] = (),
    logarithmic: bool = False,
) -> str:
    """A histogram for each candidate, one below the other, over one axis.

    Each has its own bins, from its 0.5 to its 99.5 percentile, and is as high as the largest of
    them: a few stray values squeeze nothing; they count in the outer bins. ``quantiles`` (0 to 100)
    are drawn as lines. With ``logarithmic`` the axis is that where values differ widely.
    """
    import numpy as np

    values = [np.asarray(row.values, float) for row in rows]
    values = [row[np.isfinite(row)] for row in values]
    ends = [(float(np.percentile(row, 0.5)), float(np.percentile(row, 99.5))) for row in values]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    wide = low > 0 and high / low > _WIDE and logarithmic
    with _figure(60 + 62 * len(rows)) as (figure, axes):
        shown: dict[str, str] = {}
        for place, (row, here, (first, last)) in enumerate(zip(rows, values, ends, strict=True)):
            base = len(rows) - 1 - place
            edges = _edges(first, last, len(here), logarithmic=wide)
            counts, _ = np.histogram(here.clip(edges[0], edges[-1]), edges)
            filled = axes.stairs(
                base + 0.6 * counts / max(1, counts.max()), edges, baseline=base, fill=True,
                color=_look(row.place)[0], alpha=0.8,
            )  # fmt: skip
            shown[_tip(filled, place)] = row.title
            for value in np.percentile(here, quantiles):
                axes.plot([value] * 2, [base, base + 0.6], color=INK, linewidth=1)
            _row_name(axes, row.name, base + 0.66)
            axes.text(
                1, base + 0.66, row.note, transform=axes.get_yaxis_transform(), va="bottom",
                ha="right", color=QUIET, fontsize=10, bbox=_PLATE,
            )  # fmt: skip
        axes.set_ylim(0, len(rows))
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        if wide:
            axes.set_xscale("log")
        _numbers(axes, "x")
        axes.set_xlabel(x_label)
        return to_svg(figure, title, shown)


def lines(rows: Sequence[Series], *, x_label: str, y_label: str, title: str) -> str:
    """Values in their order, a line for each candidate; gaps where a value is not finite."""
    import numpy as np

    with _figure(250, left=46, top=26) as (figure, axes):
        shown: dict[str, str] = {}
        for place, row in enumerate(rows):
            color, marker = _look(row.place)
            values = np.asarray(row.values, float)
            values[~np.isfinite(values)] = np.nan
            at = np.arange(len(values))
            if len(values) > _MOST_POINTS:
                at = np.unique(np.linspace(0, len(values) - 1, _MOST_POINTS).astype(int))
            (line,) = axes.plot(
                at + 1, values[at], color=color, linewidth=1.6, marker=marker,
                markersize=5, markevery=max(1, len(at) // 12), label=clean(row.name, 24),
            )  # fmt: skip
            shown[_tip(line, place)] = row.title
        _numbers(axes, "x")
        _numbers(axes, "y")
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        if len(rows) > 1:
            axes.legend(
                loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=10,
                borderaxespad=0.1, handlelength=1.6,
            )  # fmt: skip
        return to_svg(figure, title, shown)


# --------------------------------------------------------------------------- what they share


@contextmanager
def _figure(height: float, *, left: float = 4, top: float = 8) -> Iterator[tuple[Figure, Axes]]:
    """An empty figure in the page's style, with room at its sides; nothing global stays changed."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # Letters that Matplotlib's own font lacks: the browser has one with them.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure = Figure(figsize=(WIDTH / 72, height / 72))
        across, down = WIDTH - left - _RIGHT, height - top - _BOTTOM
        places = (left / WIDTH, _BOTTOM / height, across / WIDTH, down / height)
        yield figure, figure.add_axes(places)


def _look(place: int) -> tuple[str, str]:
    return SERIES[place % len(SERIES)], MARKERS[place % len(MARKERS)]


def _tip(artist: Any, number: int) -> str:
    name = f"tip-{number}"
    artist.set_gid(name)
    return name


def _row_name(axes: Axes, name: str, height: float) -> None:
    axes.text(
        0, height, clean(name, 26), transform=axes.get_yaxis_transform(), va="bottom", bbox=_PLATE
    )


def _edges(low: float, high: float, count: int, *, logarithmic: bool) -> Any:
    """The ends of bins between two values, which may be the same: 2·∛count of them (Rice)."""
    import numpy as np

    if high - low < 1e-9 * max(1.0, abs(high)):
        middle = 0.02 * abs(low) or 0.5
        return np.array([low - middle, low + middle])
    bins = min(_MOST_BINS, round(2 * count ** (1 / 3)))
    return (np.geomspace if logarithmic else np.linspace)(low, high, bins + 1)


def _stretch(set_scale: Callable[[str], None], values: Sequence[float]) -> None:
    positive = [value for value in values if value > 0]
    if len(positive) == len(values) and positive and max(positive) / min(positive) > _WIDE:
        set_scale("log")


def _numbers(axes: Axes, which: str, *, percent: bool = False) -> None:
    """Ticks as plain numbers, on a logarithmic axis too."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    axis = axes.xaxis if which == "x" else axes.yaxis
    scale = 100 if percent else 1

    def text(value: float, _place: int | None) -> str:
        if percent and value > _ALL:
            return ""  # room above what is possible
        return f"{scale * value:.6g}".replace("-", "−") + (" %" if percent else "")

    logarithmic = (axes.get_xscale() if which == "x" else axes.get_yscale()) == "log"
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)) if logarithmic else MaxNLocator(5))
    axis.set_major_formatter(FuncFormatter(text))
    axis.set_minor_locator(NullLocator())


def _labels_beside(figure: Figure, axes: Axes, points: Sequence[PlotPoint]) -> None:
    """Names beside their points, moved up or down until none covers another."""
    axes.get_xlim(), axes.get_ylim()  # settles the axes, on which the distances depend
    left, right = axes.get_window_extent().intervalx
    scale = 72 / figure.dpi
    spots = [(*axes.transData.transform((point.x, point.y)), point) for point in points]
    used: dict[str, list[float]] = {"left": [], "right": []}
    for x, y, point in sorted(spots, key=lambda spot: spot[1]):
        side = "right" if x > (left + right) / 2 else "left"
        height = y * scale + 9
        if used[side] and height < used[side][-1] + _LABEL_GAP:
            height = used[side][-1] + _LABEL_GAP
        used[side].append(height)
        axes.annotate(
            clean(point.name, 24), (point.x, point.y), textcoords="offset points",
            xytext=(-9 if side == "right" else 9, height - y * scale),
            ha="right" if side == "right" else "left", va="center", bbox=_PLATE, zorder=1.6,
        )  # fmt: skip


def _free(axes: Axes, points: Sequence[PlotPoint]) -> float:
    """Where along the axis, 0 to 1, there is most room between points and their names."""
    to_axes = axes.transData + axes.transAxes.inverted()
    taken = []
    for point in points:
        x = float(to_axes.transform((point.x, point.y))[0])
        taken += [x, x + (-0.15 if x > 0.5 else 0.15)]
    return max((0.12, 0.5, 0.88), key=lambda place: min(abs(place - x) for x in taken))
