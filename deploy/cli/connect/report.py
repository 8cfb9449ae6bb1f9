"""What the gateway saw of one run of a command, and what to do about it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.table import Table

from deploy.gateway_api.episode import Episode, Turn

ABANDONED, LOST = "abandoned", "lost"  # why a sampled span never trains


@dataclass(frozen=True, slots=True)
class Report:
    """The episodes that a command took turns in, with their tokens, oldest first."""

    episodes: Sequence[Episode]
    is_by_key: bool  # they came with the key that was made for the command
    before: Episode | None = None  # one of them before the command ran; what it had is not counted

    @property
    def turns(self) -> list[Turn]:
        every = (turn for episode in self.episodes for turn in episode.turns)
        return [turn for turn in every if turn.id not in self._known]

    @property
    def _known(self) -> set[str]:
        return {turn.id for turn in self.before.turns} if self.before else set()

    @property
    def side_calls(self) -> list[Turn]:
        return [turn for turn in self.turns if turn.kind == "side"]

    @property
    def num_forks(self) -> int:
        """Places at which work on the task does not go on from its end, within one episode."""
        return sum(map(forks_of, self.episodes)) - (forks_of(self.before) if self.before else 0)

    def num_orphans(self, reason: str) -> int:
        known = self._known
        return sum(
            span.orphaned == reason and span.turn_id not in known
            for episode in self.episodes
            for span in episode.tokens
        )

    @property
    def carriers(self) -> dict[str, int]:
        """How many turns found their episode in each way."""
        return dict(Counter(turn.found_by for turn in self.turns))

    def content(self) -> dict[str, Any]:
        return {
            "episodes": [episode.id for episode in self.episodes],
            "turns": len(self.turns),
            "clients": sorted({turn.client for turn in self.turns}),
            "found_by": self.carriers,
            "side_calls": [{"turn": turn.id, "notes": turn.notes} for turn in self.side_calls],
            "forks": self.num_forks,
            "abandoned": self.num_orphans(ABANDONED),
            "repeated": self.num_orphans(LOST),
            "advice": [*self.advice()],
        }

    def table(self) -> Table:
        table = Table("", "", box=box.SIMPLE_HEAD, show_header=False)
        rows = {
            "episode": ", ".join(episode.id for episode in self.episodes) or "none",
            "runtime": ", ".join(sorted({turn.client for turn in self.turns})),
            "turns": str(len(self.turns)),
            "found by": ", ".join(f"{how} ({n})" for how, n in self.carriers.items()),
            "side calls": str(len(self.side_calls)),
            "forks": str(self.num_forks),
            "given up": str(self.num_orphans(ABANDONED)),
            "repeated": str(self.num_orphans(LOST)),
            "notes": "; ".join(sorted({note for turn in self.turns for note in turn.notes})),
        }
        for name, value in rows.items():
            table.add_row(name, value)
        for advice in self.advice():
            table.add_row("advice", advice)
        return table

    def advice(self) -> Iterator[str]:
        if not self.turns:
            yield (
                "No model call came. The command takes its base URL from a file or from its code: "
                "write there what `turngate connect` prints for its runtime."
            )
            return
        if not self.is_by_key:
            yield (
                "The calls came with another key than the one in the environment, so the command has its own settings. "
                "Shown are all calls that the gateway got meanwhile, others' too."
            )
        if len(self.episodes) > 1:
            yield (
                f"The calls opened {len(self.episodes)} episodes: nothing in them says that they belong together. "
                "Name the episode in the base URL (/e/<episode>/v1), or run the command by `turngate wrap`."
            )
        if self.num_forks:
            yield (
                f"The history was rewritten at {self.num_forks} places, as sub-agents and compaction do. Each branch trains as a "
                "sequence of its own; `turngate episode show` draws them."
            )
        if self.num_orphans(ABANDONED):
            yield "The command gave up replies before they ended. Raise its timeout, or lower max_tokens."
        if self.num_orphans(LOST):
            yield (
                "Calls were repeated without a header that says so; what nobody continued does not train. "
                "An Idempotency-Key header on each call avoids sampling twice."
            )
        if self.side_calls:
            yield (
                "Side calls do not train. If one of them is work on the task, send X-Turngate-Turn-Kind: train with it."
            )


def forks_of(episode: Episode) -> int:
    """Sequences that train, beyond the first."""
    rows = {row for span in episode.tokens for row, _, _ in span.rows}
    return max(0, len(rows) - 1)
