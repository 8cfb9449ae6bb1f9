"""Spans of tokens in a trie, places in them, and the path from the root to a place."""

from typing import NamedTuple

import numpy as np
import orjson

from rollout.episode.turn import TOKEN, TOKEN_BYTES, Ids, Media


class Span:
    """Consecutive tokens that start at one place of the trie: the context that a turn added, or an output.

    An episode has thousands, so a span holds its tokens as bytes, which are its turn's own, and makes arrays on demand.
    """

    __slots__ = (
        *("_data", "_keys", "children", "depth", "media"),
        *("offset", "output", "parent", "start", "turn"),
    )

    def __init__(self, place: "Place", data: bytes, *, turn: int, start: int, output: int) -> None:
        self.parent = place.span
        self.offset = offset = place.offset  # how many of the parent's tokens come before
        # How many tokens of the episode come before.
        self.depth: int = 0 if place.span is None else place.span.depth + offset
        self._data = data
        self._keys: Ids | None = None
        self.media: tuple[Media, ...] = ()
        self.turn = turn  # ordinal of the turn that added the span
        self.start = start  # where the span starts in that turn's context, or output
        self.output = output  # -1: context
        self.children: tuple[Span, ...] = ()

    def __len__(self) -> int:
        return len(self._data) // TOKEN_BYTES

    @property
    def tokens(self) -> Ids:
        return np.frombuffer(self._data, TOKEN)

    def data(self, num_tokens: int) -> bytes:
        """The bytes of the first tokens."""
        return self._data[: num_tokens * TOKEN_BYTES]

    @property
    def keys(self) -> Ids:
        """What spans are compared by: the tokens, or the image in an image's run."""
        return self.tokens if self._keys is None else self._keys

    def show(self, media: tuple[Media, ...], keys: Ids) -> None:
        """Compare the span by the images in it."""
        self.media, self._keys = media, keys

    @property
    def is_context(self) -> bool:
        return self.output < 0


class Place(NamedTuple):
    """After the first `offset` tokens of a span; the root is before all spans."""

    span: Span | None
    offset: int

    @property
    def depth(self) -> int:
        return 0 if self.span is None else self.span.depth + self.offset


ROOT = Place(None, 0)


def path(place: Place) -> list[tuple[Span, int]]:
    """The spans from the root to a place, and how many tokens of each the path takes."""
    steps = []
    span, end = place.span, place.offset
    while span is not None:
        steps.append((span, end))
        end, span = span.offset, span.parent
    return steps[::-1]


def media_on(steps: list[tuple[Span, int]]) -> list[Media]:
    """The images on a path from the root."""
    return [
        image.moved(span.depth) for span, end in steps for image in span.media if image.end <= end
    ]


def climb(place: Place, num_tokens: int) -> Place:
    """The place this many tokens closer to the root; it is after a token, never before the first token of a span."""
    target = place.depth - num_tokens
    span = place.span
    while span is not None and span.depth >= target:
        span = span.parent
    return ROOT if span is None else Place(span, target - span.depth)


def encode_tokens(ids: Ids) -> bytes:
    """JSON numbers with commas between."""
    return orjson.dumps(ids, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]


def common_length(left: Ids, right: Ids) -> int:
    """How many tokens both start with."""
    length = min(len(left), len(right))
    differs = np.flatnonzero(left[:length] != right[:length])
    return int(differs[0]) if len(differs) else length
