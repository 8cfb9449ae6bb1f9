"""The demo's picture: success by policy version with its interval, held-out success before and after, and tokens per episode."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from deploy.demo.history import WINDOW_VERSIONS, History, Success

INK, LEARNING, HELD_OUT, LENGTH = "#1f2430", "#2a6fb0", "#d1495b", "#6b8f3a"


def draw_curve(history: History, file: Path) -> None:
    figure = Figure(figsize=(9, 6.2), dpi=144, layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    draw_success(top, history)
    draw_length(bottom, history)
    before, after = Success.of(history.before), Success.of(history.after)
    top.set_title(
        f"Held-out success: from {before.rate:.0%} to {after.rate:.0%} "
        f"in {last_version(history)} policy versions",
        loc="left",
        fontweight="bold",
        color=INK,
    )
    for axes in (top, bottom):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25)
    figure.savefig(file)


def draw_success(axes: Axes, history: History) -> None:
    each = {version: Success.of(played) for version, played in history.by_version().items()}
    smooth = {version: Success.of(played) for version, played in history.windows().items()}
    versions = list(smooth)
    axes.fill_between(
        versions,
        [success.interval[0] for success in smooth.values()],
        [success.interval[1] for success in smooth.values()],
        color=LEARNING,
        alpha=0.18,
        linewidth=0,
        label="95 % interval",
    )
    rates = [success.rate for success in smooth.values()]
    axes.plot(
        versions,
        rates,
        color=LEARNING,
        linewidth=2,
        label=f"training tasks, {WINDOW_VERSIONS} versions",
    )
    points = [success.rate for success in each.values()]
    axes.scatter(
        list(each), points, s=12, color=LEARNING, alpha=0.55, label="one version", zorder=3
    )
    draw_held_out(axes, history)
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_ylabel("tasks answered correctly")
    axes.legend(loc="lower right", frameon=False)


def draw_held_out(axes: Axes, history: History) -> None:
    places = [0, last_version(history)]
    measured = [Success.of(history.before), Success.of(history.after)]
    rates = [success.rate for success in measured]
    low = [success.rate - success.interval[0] for success in measured]
    high = [success.interval[1] - success.rate for success in measured]
    axes.errorbar(
        places,
        rates,
        yerr=[low, high],
        fmt="D",
        markersize=7,
        capsize=5,
        color=HELD_OUT,
        label=f"held-out tasks ({measured[-1].episodes} each, 95 %)",
        zorder=4,
    )


def draw_length(axes: Axes, history: History) -> None:
    """Longer episodes mean that the agent uses its tools; one that guesses is short."""
    windows = history.windows()
    means = [sum(p.output_tokens for p in played) / len(played) for played in windows.values()]
    axes.plot(list(windows), means, color=LENGTH, linewidth=2)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("sampled tokens\nper episode")
    axes.set_xlabel("policy version that played the episode")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def last_version(history: History) -> int:
    return max((played.version for played in history.everything), default=0)
