"""One panel of the dashboard, one row of them, and the two forms that most queries have.

Every gateway exports the numbers that Redis holds once (episodes, backlog, policy version), so their queries take `max`,
never `sum`; numbers that a process counts itself are summed over processes.
"""

from dataclasses import dataclass

WINDOW = "$__rate_interval"


@dataclass(frozen=True, slots=True)
class Chart:
    """One panel: what it shows, in which unit, by which queries (legend -> expression)."""

    title: str
    explanation: str
    unit: str
    queries: dict[str, str]


@dataclass(frozen=True, slots=True)
class PanelRow:
    title: str
    charts: tuple[Chart, ...]


def quantile(level: float, histogram: str, *, by: str = "") -> str:
    """The `level` quantile of a histogram over the scrape window, optionally one per value of a label."""
    labels = ", ".join(filter(None, ("le", by)))
    return f"histogram_quantile({level}, sum by ({labels}) (rate({histogram}_bucket[{WINDOW}])))"


def rate(counter: str, *, by: str = "") -> str:
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (rate({counter}[{WINDOW}]))"
