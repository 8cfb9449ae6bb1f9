"""An episode as the gateway shows it, in the parts that the command line draws.

Parsed from three views of `GET /v1/episodes/{id}`, without the fields that are not drawn.
"""

from collections import Counter, deque
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import msgspec


class Turn(msgspec.Struct, frozen=True):
    id: str
    output_tokens: list[int]  # of each choice
    kind: str = "train"
    found_by: str = ""
    thread: str = ""
    client: str = ""
    notes: list[str] = []


class Reward(msgspec.Struct, frozen=True):
    name: str
    value: float
    turn_id: str | None = None
    choice_index: int | None = None


class EpisodeSummary(msgspec.Struct, frozen=True):
    """One entry of a list of episodes."""

    id: str
    status: str
    num_turns: int
    reward: float | None
    disposition: str | None
    policy_version: int | None
    task_id: str
    created: int

    @property
    def ending(self) -> str:
        """How it ended: trained into a policy, or why it was discarded; empty while it is live."""
        if self.policy_version is not None:
            return f"trained into v{self.policy_version}"
        return self.disposition or ""


class Image(msgspec.Struct, frozen=True):
    digest: str


class Span(msgspec.Struct, frozen=True):
    """Tokens below the first `offset` tokens of their parent."""

    id: str
    parent: str | None
    offset: int
    tokens: list[int]
    text: str
    kind: Literal["context", "sampled", "forced"]
    turn_id: str
    choice_index: int | None
    trains: bool
    rows: list[tuple[int, int, int]]  # row, start, end
    orphaned: str | None
    behavior_logprobs: list[float] | None
    versions: list[tuple[int, int, int]]  # version, start, end
    flags: list[str]
    media: list[Image] = []


class Segment(msgspec.Struct, frozen=True):
    start: int
    end: int
    turn: int | None
    text: str

    @property
    def tokens(self) -> slice:
        return slice(self.start, self.end)


class Row(msgspec.Struct, frozen=True):
    """A sequence that trains."""

    ids: list[int]
    action_mask: list[bool]
    behavior_logprobs: list[float]
    versions: list[int]
    turns: list[int]
    advantages: list[float] | None
    segments: list[Segment]


class Episode(EpisodeSummary, frozen=True, dict=True):
    """One episode as last read; without spans and rows if its tokens have expired."""

    group_id: str
    sealed: int | None
    settled: int | None
    outcome: str | None
    truncated: bool
    turns: list[Turn]
    rewards: list[Reward]
    tokens: list[Span] = []
    sequences: list[Row] = []

    @classmethod
    def parse(cls, content: dict[str, Any]) -> "Episode":
        return msgspec.convert(content, cls)

    @property
    def has_expired(self) -> bool:
        return self.num_turns > len(self.turns)

    @cached_property
    def turn_numbers(self) -> dict[str, int]:
        """From 1, in the order in which the turns were recorded."""
        return {turn.id: number for number, turn in enumerate(self.turns, start=1)}

    @cached_property
    def depths(self) -> dict[str, int]:
        """How many tokens come before each span."""
        found: dict[str, int] = {}
        for span in self.tokens:  # parents come before their children
            found[span.id] = (found[span.parent] if span.parent else 0) + span.offset
        return found

    def name_of(self, span: Span) -> str:
        """The turn that sampled a span, and which of its choices it is if there are several."""
        number = self.turn_numbers[span.turn_id]
        is_only = len(self.turns[number - 1].output_tokens) == 1
        return f"turn {number}" if is_only else f"turn {number} choice {span.choice_index}"

    def rewards_of(self, span: Span) -> list[Reward]:
        """The rewards of the turn, or of this choice of it."""
        return [
            reward
            for reward in self.rewards
            if reward.turn_id == span.turn_id and reward.choice_index in (None, span.choice_index)
        ]

    def advantages(self, span: Span) -> list[float]:
        """Advantages of the trained tokens of a span; empty until they are trained."""
        depth = self.depths[span.id]
        return [
            value
            for row, start, end in span.rows
            for value in (self.sequences[row].advantages or [])[depth + start : depth + end]
        ]

    def trained_advantages(self) -> list[float]:
        return [value for span in self.tokens for value in self.advantages(span)]

    def orphans(self) -> dict[str, int]:
        """How many sampled tokens do not train, by reason."""
        counts = Counter[str]()
        for span in self.tokens:
            if span.orphaned:
                counts[span.orphaned] += len(span.tokens)
        return dict(counts)


class Branch(msgspec.Struct, frozen=True):
    """Spans that follow each other to the end, and the branches that start on them."""

    spans: list[Span]
    leaving: dict[str, list["Branch"]]  # by span, in the order of their offsets

    @property
    def offset(self) -> int:
        return self.spans[0].offset


def branches(spans: Sequence[Span]) -> list[Branch]:
    """The spans as branches; at a fork, the child with most tokens below it continues the branch."""
    children: dict[str | None, list[Span]] = {}
    for span in spans:
        children.setdefault(span.parent, []).append(span)
    sizes: dict[str, int] = {}
    for span in reversed(spans):
        below = (sizes[child.id] for child in children.get(span.id, ()))
        sizes[span.id] = len(span.tokens) + max(below, default=0)

    roots: list[Branch] = []
    waiting = deque((root, roots) for root in children.get(None, ()))
    while waiting:  # no recursion: branches can nest a thousand deep
        first, siblings = waiting.popleft()
        followed = [first]
        branch = Branch(followed, {})
        siblings.append(branch)
        for span in followed:
            following = children.get(span.id, [])
            ends = [child for child in following if child.offset == len(span.tokens)]
            main = max(ends, key=lambda child: sizes[child.id], default=None)
            others = sorted((c for c in following if c is not main), key=lambda c: c.offset)
            leaving = branch.leaving[span.id] = []
            waiting.extend((other, leaving) for other in others)
            if main is not None:
                followed.append(main)
    return roots
