"""`python -m trainer.explain`: the algorithm of these settings, with formulas, sources and where each value comes from.

Nothing is started and only the environment and plug-ins are read; findings are those of the trainer at its start.
"""

import json
import os
import sys
from collections.abc import Iterable
from typing import Annotated, Literal

import typer
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from rollout.settings import SettingsError
from trainer.advice.explanation import Explanation, Line, explain
from trainer.advice.rules.findings import Finding
from trainer.advice.rules.rule import Severity
from trainer.settings import Settings

app = typer.Typer(add_completion=False)

# Required settings that only a running trainer uses.
UNUSED = {"TURNGATE_REDIS_URL": "redis://unused", "TURNGATE_MODEL_DIR": "unused"}
STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "dim"}
CHANGED = "bold cyan"
NOTATION = (
    "rho = exp(logp - old_logp), w = exp(old_logp - behav_logp): the policy now, at the start of the batch, "
    "and when the token was sampled"
)


@app.command()
def main(
    *,
    output: Annotated[Literal["text", "json"], typer.Option(help="json: one object")] = "text",
    plain: Annotated[bool, typer.Option("--plain", help="no color")] = False,
) -> None:
    """Print the algorithm that the environment names."""
    os.environ.update(UNUSED | os.environ)
    try:
        settings = Settings.load()
        explanation = explain(settings)
    except SettingsError as error:
        Console(stderr=True, no_color=plain, highlight=False).print(f"error: {error}", markup=False)
        sys.exit(1)
    if output == "json":
        sys.stdout.write(json.dumps(explanation.content) + "\n")
    else:
        Console(no_color=plain, highlight=False).print(shown(explanation, settings.presets))


def shown(explanation: Explanation, presets: Iterable[str]) -> Group:
    """Title, the loss in one line, the parts, the findings."""
    title = Text.assemble(
        (explanation.algorithm, "bold"),
        f"  {explanation.preset.idea} ",
        (f"({explanation.preset.source})", "dim"),
    )
    others = ", ".join(name for name in presets if name != explanation.algorithm)
    return Group(
        title,
        Text(f"loss = {explanation.loss}"),
        Text(NOTATION, style="dim"),
        _parts(explanation),
        *(_found(finding) for finding in explanation.findings),
        Text(f"\nother algorithms: {others}", style="dim"),
    )


def _parts(explanation: Explanation) -> Table:
    """Each part's name beside its choice, the numbers that choice reads and, below, its formula."""
    table = Table.grid(padding=(0, 2))
    for section in explanation.sections:
        table.add_row()
        table.add_row(Text(section.title, style="underline"))
        for line in section.lines:
            table.add_row(f"  {line.part}", _chosen(line, explanation))
            table.add_row("", Text(line.formula, style="dim"))
    table.add_row()
    return table


def _chosen(line: Line, explanation: Explanation) -> Text:
    numbers = (
        Text(f"{number.name} ") + _value(number.value, number.origin, explanation)
        for number in line.numbers
    )
    return Text("   ").join([_value(line.choice, line.origin, explanation), *numbers])


def _value(value: float | str, origin: str, explanation: Explanation) -> Text:
    """A value that is not the preset's is followed by where it comes from."""
    text = value if isinstance(value, str) else f"{value:g}"
    if origin == explanation.algorithm:
        return Text(text, style="bold")
    return Text(f"{text} ({origin})", style=CHANGED)


def _found(finding: Finding) -> Text:
    return Text.assemble(
        (f"{finding.severity}: ", STYLES[finding.severity]),
        finding.problem,
        (f"\n  {finding.remedy}", "dim"),
    )


if __name__ == "__main__":
    app()
