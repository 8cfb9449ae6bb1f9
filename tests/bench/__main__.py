"""`make bench`: prints what a turn costs in the gateway and how fast the trainer steps, each beside its yardstick."""

import dataclasses
import json
import sys

from rich.console import Console
from rich.table import Table

from tests.bench import gateway, trainer


def gateway_table(figures: list[gateway.Figure]) -> Table:
    table = Table(title="Gateway: CPU time of one recorded turn (durable write included)")
    for column in (
        "work",
        "target",
        "CPU us/turn",
        "turns/s/core",
        "CPU us/event",
        "p50 ms",
        "p99 ms",
    ):
        table.add_column(column, justify="left" if column in {"work", "target"} else "right")
    for figure in figures:
        event = f"{figure.event_us:.0f}" if figure.event_us else ""
        turns, latency = f"{figure.turns_per_second_per_core:,.0f}", f"{figure.p50_ms:.1f}"
        table.add_row(
            figure.work,
            figure.target,
            f"{figure.cpu_us:.0f}",
            turns,
            event,
            latency,
            f"{figure.p99_ms:.1f}",
        )
    return table


def trainer_table(figures: list[trainer.Figure]) -> Table:
    table = Table(title="Trainer: tokens per CPU second of one optimizer step, one thread")
    for column in ("shape", "precision", "Megatron-Core", "PyTorch + SDPA", "ratio"):
        table.add_column(column, justify="left" if column in {"shape", "precision"} else "right")
    for figure in figures:
        ours, plain = f"{figure.tokens_per_second:,.0f}", f"{figure.plain_tokens_per_second:,.0f}"
        table.add_row(figure.shape, figure.precision, ours, plain, f"{figure.ratio:.2f}")
    return table


def main() -> None:
    console = Console(stderr="json" in sys.argv, width=110)
    gateway_figures, trainer_figures = gateway.run(), trainer.run()
    console.print(gateway_table(gateway_figures), trainer_table(trainer_figures))
    if "json" in sys.argv:
        report = {"gateway": gateway_figures, "trainer": trainer_figures}
        json.dump(
            {name: [dataclasses.asdict(f) for f in rows] for name, rows in report.items()},
            sys.stdout,
        )


if __name__ == "__main__":
    main()
