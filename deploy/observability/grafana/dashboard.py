"""Renders the rows of panels as the JSON that Grafana provisions.

After a change, run `python -m deploy.observability.grafana.dashboard > deploy/observability/grafana/dashboards/turngate.json`. A test
compares the two, parses every query and finds each metric in what the processes really export.
"""

from collections.abc import Sequence

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import DataSourceRef, GridPos

from deploy.observability.grafana.chart import Chart, PanelRow
from deploy.observability.grafana.rows.headline import HEADLINE
from deploy.observability.grafana.rows.registry import ROWS

COLUMNS = 24  # Grafana's grid
HEADLINE_HEIGHT = 4
CHART_HEIGHT = CHART_WIDTH = 8


def targets(chart: Chart) -> list[prometheus.Dataquery]:
    return [
        prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(chr(ord("A") + place))
        for place, (legend, expression) in enumerate(chart.queries.items())
    ]


def source() -> DataSourceRef:
    return DataSourceRef(type_val="prometheus", uid="turngate-prometheus")


def stat_panel(chart: Chart, position: GridPos) -> stat.Panel:
    panel = stat.Panel().title(chart.title).description(chart.explanation).unit(chart.unit)
    newest = common.ReduceDataOptions().calcs(["lastNotNull"])
    panel = panel.datasource(source()).targets(list(targets(chart))).grid_pos(position)
    return panel.reduce_options(newest)


def time_panel(chart: Chart, position: GridPos) -> timeseries.Panel:
    panel = timeseries.Panel().title(chart.title).description(chart.explanation).unit(chart.unit)
    panel = panel.datasource(source()).targets(list(targets(chart))).grid_pos(position)
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST)
    legend = legend.placement(LegendPlacement.BOTTOM).show_legend(True)
    return panel.line_width(2).fill_opacity(8).legend(legend)


def build(rows: Sequence[PanelRow] = ROWS) -> dashboard.Dashboard:
    """The whole dashboard: the headline numbers, then the rows of charts."""
    board = dashboard.Dashboard("Turngate").uid("turngate").tags(["turngate"]).refresh("5s")
    board = board.time("now-30m", "now").timezone("browser").readonly()
    width = COLUMNS // len(HEADLINE)
    for place, chart in enumerate(HEADLINE):
        board = board.with_panel(
            stat_panel(chart, GridPos(h=HEADLINE_HEIGHT, w=width, x=place * width, y=0))
        )
    top = HEADLINE_HEIGHT
    for row in rows:
        board = board.with_row(
            dashboard.Row(row.title).grid_pos(GridPos(h=1, w=COLUMNS, x=0, y=top))
        )
        top += 1
        for place, chart in enumerate(row.charts):
            line, column = divmod(place, COLUMNS // CHART_WIDTH)
            left, upper = column * CHART_WIDTH, top + line * CHART_HEIGHT
            position = GridPos(h=CHART_HEIGHT, w=CHART_WIDTH, x=left, y=upper)
            board = board.with_panel(time_panel(chart, position))
        top += (line + 1) * CHART_HEIGHT
    return board


def render(rows: Sequence[PanelRow] = ROWS) -> str:
    return JSONEncoder(sort_keys=True, indent=2).encode(build(rows).build()) + "\n"


if __name__ == "__main__":
    print(render(), end="")  # noqa: T201 - the command's output
