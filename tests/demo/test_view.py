"""What people see: a panel on a terminal, lines elsewhere, the same facts in both."""

import asyncio
import io

import pytest
from rich.console import Console

from deploy.demo.harness import Played
from deploy.demo.history import History
from deploy.demo.observer import Observer
from deploy.demo.traffic import Traffic
from deploy.demo.view import View

HISTORY = History(
    before=[Played(float(n < 30), 3, 20, 0) for n in range(100)],
    trained=[
        Played(float(n % 4 < version), 4, 28, version) for version in range(4) for n in range(64)
    ],
)


def shown(console: Console) -> str:
    view = View(console, HISTORY, Traffic(connections=1), Observer([]))

    async def show() -> None:
        async with view.shown():
            view.enter("agents play")
            await asyncio.sleep(0)

    asyncio.run(show())
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


@pytest.mark.parametrize("is_terminal", [True, False])
def test_view_shows_the_same_facts_everywhere(is_terminal: bool) -> None:
    """Success so far, the held-out rate, turns and length are on the panel and in the line."""
    text = shown(Console(file=io.StringIO(), force_terminal=is_terminal, width=120))

    for fact in ("agents play", "75%", "30% of 100", "4.0", "28.0", "0 failed"):
        assert fact in text


def test_plain_output_has_neither_color_nor_animation() -> None:
    """With no color asked for, a terminal gets plain lines."""
    text = shown(Console(file=io.StringIO(), force_terminal=True, no_color=True, width=120))

    assert "\x1b" not in text
    assert "agents play" in text


def test_panel_draws_reward_by_version() -> None:
    """Rising success is a rising line of bars."""
    view = View(Console(file=io.StringIO()), HISTORY, Traffic(connections=1), Observer([]))

    bars = view.sparkline()

    assert len(bars) == 4
    assert list(bars) == sorted(bars)
    assert bars[0] < bars[-1]
