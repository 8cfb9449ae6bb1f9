"""The output while the demo runs: a live panel on a terminal, else a line every few seconds."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from deploy.demo.alongside import alongside, repeat
from deploy.demo.harness import Played
from deploy.demo.history import History, Success
from deploy.demo.observer import Observer, quantile
from deploy.demo.traffic import Traffic

BARS = " ▁▂▃▄▅▆▇█"
RECENT_EPISODES = 64
REFRESH_SECONDS = 0.5
PLAIN_SECONDS = 10.0


class View:
    """Draws the state of history, traffic and observer, and changes none of them."""

    def __init__(
        self, console: Console, history: History, traffic: Traffic, observer: Observer
    ) -> None:
        self._console = console
        self._history, self._traffic, self._observer = history, traffic, observer
        self._started = time.monotonic()
        self._phase = ""

    def enter(self, phase: str) -> None:
        self._phase = phase
        if not self._is_live:
            self._print(phase)

    @asynccontextmanager
    async def shown(self) -> AsyncIterator[None]:
        """Keep the view up to date while the block runs."""
        if self._is_live:
            with Live(self.panel(), console=self._console, auto_refresh=False) as live:
                async with alongside(
                    repeat(REFRESH_SECONDS, lambda: live.update(self.panel(), refresh=True))
                ):
                    yield
                live.update(self.panel(), refresh=True)
        else:
            async with alongside(repeat(PLAIN_SECONDS, lambda: self._print(self.line()))):
                yield

    def panel(self) -> Panel:
        table = Table.grid(padding=(0, 3))
        facts = list(self.facts().items())
        for (name, value), (other, other_value) in zip(facts[::2], facts[1::2], strict=True):
            table.add_row(*labeled(name, value), *labeled(other, other_value))
        curve = Text(f"\nreward by policy version  {self.sparkline()}", style="cyan")
        return Panel(
            Group(table, curve), title=self._phase, title_align="left", border_style="cyan"
        )

    def line(self) -> str:
        return "  ".join(f"{name} {value}" for name, value in self.facts().items())

    def facts(self) -> dict[str, str]:
        recent = (self._history.trained or self._history.before)[-RECENT_EPISODES:]
        seen, gaps = self._observer.latest, self._observer.gaps
        seconds = time.monotonic() - self._started
        return {
            "policy version": str(max(self._traffic.served_versions, default=0)),
            "success, last 64": f"{Success.of(recent).rate:.0%}",
            "held-out before": percent(self._history.before),
            "held-out after": percent(self._history.after),
            "staleness": f"{seen.quantile('turngate_training_staleness', 0.5):g} median",
            "backlog": f"{seen.total('turngate_backlog_groups'):g} groups",
            "turns per episode": f"{mean(recent, lambda played: played.turns):.1f}",
            "tokens per episode": f"{mean(recent, lambda played: played.output_tokens):.1f}",
            "tokens/s": f"{self._history.generated_tokens / max(seconds, 1):.0f}",
            "swap gap": f"{quantile(gaps, 0.5) * 1000:.0f} ms median of {len(gaps)}",
            "requests": f"{self._traffic.requests}, {self._traffic.requests_failed} failed",
            "seconds": f"{seconds:.0f}",
        }

    def sparkline(self) -> str:
        rates = [Success.of(played).rate for played in self._history.windows().values()]
        return "".join(BARS[round(rate * (len(BARS) - 1))] for rate in rates)

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    @property
    def _is_live(self) -> bool:
        return self._console.is_terminal and not self._console.no_color


def labeled(name: str, value: str) -> tuple[Text, Text]:
    return Text(name, style="dim"), Text(value, style="bold")


def percent(played: list[Played]) -> str:
    return f"{Success.of(played).rate:.0%} of {len(played)}" if played else "-"


def mean(played: list[Played], measure: Callable[[Played], float]) -> float:
    return sum(map(measure, played)) / len(played) if played else 0.0
