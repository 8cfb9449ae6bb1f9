"""The outcomes as an SVG: how each algorithm learned at each staleness, and what staleness cost it."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from tests.study.cells import ALGORITHMS, STALENESS
from tests.study.interval import Interval
from tests.study.outcome import Outcome
from tests.study.table import Cells, by_cell

INK = "#1f2430"
# Readers who confuse red and green can distinguish them (Okabe and Ito), and by their markers.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#555555")
MARKERS = ("o", "s", "^", "D", "v")
# The same picture from the same numbers, so that a new one shows what changed.
REPEATABLE = {"svg.hashsalt": "study", "svg.fonttype": "none", "font.family": "sans-serif"}


def draw(outcomes: Sequence[Outcome], file: Path) -> None:
    cells = by_cell(outcomes)
    with mpl.rc_context(REPEATABLE):
        figure = Figure(figsize=(11, 7), layout="constrained")
        grid = figure.add_gridspec(2, 4, height_ratios=(1, 1.1))
        first = figure.add_subplot(grid[0, 0])
        for place, staleness in enumerate(STALENESS):
            axes = first if place == 0 else figure.add_subplot(grid[0, place], sharey=first)
            draw_curves(axes, cells, staleness)
            axes.tick_params(labelleft=place == 0)
        first.set_ylabel("held-out success")
        left, right = figure.add_subplot(grid[1, :2]), figure.add_subplot(grid[1, 2:])
        draw_cost(left, cells, "final", "at the end; each dot is a seed")
        draw_cost(right, cells, "mean", "over training, the area under the curve")
        left.set_ylabel("held-out success")
        figure.legend(
            *left.get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False
        )
        for axes in figure.axes:
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(axis="y", alpha=0.25)
        figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


def draw_curves(axes: Axes, cells: Cells, staleness: int) -> None:
    """Means over seeds; the bands are their 95 % intervals."""
    for name, color, _ in styles():
        them = cells.get((name, staleness))
        if not them:
            continue
        updates = [index * them[0].recipe.evaluate_every for index in range(len(them[0].success))]
        at = [Interval.of(values) for values in zip(*(it.success for it in them), strict=True)]
        axes.plot(updates, [each.mean for each in at], color=color, linewidth=1.6)
        low = [each.mean - each.margin for each in at]
        high = [each.mean + each.margin for each in at]
        axes.fill_between(updates, low, high, color=color, alpha=0.12, linewidth=0)
    axes.set_ylim(0, 1.02)
    axes.set_title(f"staleness {staleness}", loc="left", fontsize=10, color=INK)
    axes.set_xlabel("updates")


def draw_cost(axes: Axes, cells: Cells, measure: str, title: str) -> None:
    """Every seed as a dot, and the mean with its interval, the algorithms of a staleness side by side."""
    for (name, staleness), them in cells.items():
        index = list(ALGORITHMS).index(name)
        _, color, marker = styles()[index]
        place = STALENESS.index(staleness) + 0.16 * (index - 2)
        values = [getattr(it, measure) for it in them]
        axes.scatter([place + 0.05] * len(values), values, s=7, color=color, alpha=0.6)
        at = Interval.of(values)
        axes.errorbar(
            place,
            at.mean,
            yerr=at.margin,
            fmt=marker,
            color=color,
            markersize=6,
            capsize=3,
            label=name if staleness == STALENESS[0] else None,
        )
    lowest = min(getattr(it, measure) for them in cells.values() for it in them)
    axes.set_ylim(max(-0.02, lowest - 0.05), 1.02)  # an interval may leave what success can be
    axes.set_xticks(range(len(STALENESS)), [f"{staleness}" for staleness in STALENESS])
    axes.set_xlabel("staleness, updates")
    axes.set_title(title, loc="left", fontsize=10, color=INK)


def styles() -> list[tuple[str, str, str]]:
    return list(zip(ALGORITHMS, COLORS, MARKERS, strict=True))
