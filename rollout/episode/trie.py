"""An episode as a trie of token spans: a fold over its log of turns, so that concurrent commits commute.

Spans are equal if their tokens are, and their images for placeholder tokens. Equal contexts share a span. Outputs never
share one: two outputs with the same tokens were sampled twice and train twice. A span is never split; a child starts at
an offset inside its parent.
"""

from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np

from rollout.episode.span import (
    ROOT,
    Place,
    Span,
    climb,
    common_length,
    media_on,
    path,
)
from rollout.episode.turn import TOKEN, Anchor, Ids, MalformedTurn, Media, Output, Turn


class Trie:
    """All tokens that an episode's turns read and sampled, each distinct one once."""

    def __init__(
        self,
        turns: Iterable[Turn] = (),
        *,
        rewarded: Collection[tuple[str, int]] = (),
        rewarded_turns: Collection[str] = (),
    ) -> None:
        self.rewarded = rewarded  # outputs that a reward names, as turn id and index
        self.rewarded_turns = rewarded_turns
        self._turns: list[Turn] = []
        self._ordinals: dict[str, int] = {}
        self._contexts: list[Place] = []  # where each turn's context ends
        self._outputs: list[tuple[Span, ...]] = []
        self._roots: list[Span] = []
        self._chains: dict[str, tuple[Anchor, ...]] = {}
        self._by_body: dict[
            str, list[int]
        ] = {}  # of turns that train and whose clients may repeat calls without a word
        self._images: dict[
            str, int
        ] = {}  # a key per image, made negative so that it equals no token
        for turn in turns:
            self.extend(turn)

    @property
    def num_turns(self) -> int:
        return len(self._turns)

    @property
    def turns(self) -> tuple[Turn, ...]:
        """In the order of their commits."""
        return tuple(self._turns)

    @property
    def num_tokens(self) -> int:
        """The number of distinct tokens."""
        return sum(len(span) for span in self.spans())

    def turn(self, turn_id: str) -> Turn:
        """The turn with this id; KeyError if it was not committed."""
        return self._turns[self._ordinals[turn_id]]

    def turn_at(self, ordinal: int) -> Turn:
        """The turn by its place in the log."""
        return self._turns[ordinal]

    def extend(self, turn: Turn) -> None:
        """Add the next turn of the log. Adding a turn again changes nothing."""
        if turn.id in self._ordinals:
            return
        ordinal = len(self._turns)
        end = self._add_context(self.place(turn.anchor), turn, ordinal)
        outputs = [
            self._hang(Span(end, output.tokens, turn=ordinal, start=0, output=index))
            for index, output in enumerate(turn.outputs)
        ]
        self._turns.append(turn)
        self._ordinals[turn.id] = ordinal
        self._contexts.append(end)
        self._outputs.append(tuple(outputs))
        self._index(turn)

    def find(self, chain: str) -> list[Anchor]:
        """The ends of the outputs after which the conversation hashes to this chain."""
        return list(self._chains.get(chain, ()))

    def place(self, anchor: Anchor | None) -> Place:
        """The place of an anchor, counted back from the end of the turn's context or output."""
        if anchor is None:
            return ROOT
        ordinal = self._ordinals.get(anchor.turn_id)
        if ordinal is None:
            raise MalformedTurn(f"anchor at turn {anchor.turn_id}, which was not committed before")
        turn = self._turns[ordinal]
        if anchor.output >= 0:
            span = self._outputs[ordinal][anchor.output]
            if not 0 <= anchor.offset <= len(span):
                raise MalformedTurn(f"{anchor} is outside an output of {len(span)} tokens")
            place = Place(span, anchor.offset)
            return place if anchor.offset else climb(place, 0)
        beyond = len(turn.context_ids) - anchor.offset
        if not 0 <= beyond <= len(turn.context_ids):
            raise MalformedTurn(f"{anchor} is outside a context of {len(turn.context_ids)} tokens")
        return climb(self._contexts[ordinal], beyond)

    def tokens(self, anchor: Anchor | None) -> "array[int]":
        """Every token from the root to the anchor."""
        pieces = [span.tokens[:end].tobytes() for span, end in path(self.place(anchor))]
        return array("i", b"".join(pieces))

    def depth(self, anchor: Anchor | None) -> int:
        """How many tokens lie between the root and the anchor."""
        return self.place(anchor).depth

    def tail(self, anchor: Anchor | None, num_tokens: int) -> list[int]:
        """The last `num_tokens` tokens before the anchor; reads no others."""
        found: list[int] = []
        span, end = self.place(anchor)
        while span is not None and len(found) < num_tokens:
            start = max(0, end - (num_tokens - len(found)))
            found[:0] = span.tokens[start:end].tolist()
            end, span = span.offset, span.parent
        return found

    def media(self, anchor: Anchor | None) -> list[Media]:
        """The images from the root to the anchor."""
        return media_on(path(self.place(anchor))) if self._images else []

    def longest_prefix(
        self, ids: "array[int] | Ids", media: Sequence[Media] = (), *, after: Anchor | None = None
    ) -> tuple[Anchor | None, int]:
        """Where these tokens leave the trie after an anchor, or the root, and how many of them the trie has."""
        start = best = self.place(after)
        wanted = self._keys(np.asarray(ids, TOKEN), media)
        stack = list(self._roots) if start.span is None else [start.span]
        while stack:
            span = stack.pop()
            skipped = max(0, start.depth - span.depth)
            common = skipped + common_length(
                span.keys[skipped:], wanted[span.depth + skipped - start.depth :]
            )
            if span.depth + common > best.depth:
                best = Place(span, common)
            stack.extend(child for child in span.children if skipped <= child.offset <= common)
        num_shared = best.depth - start.depth
        return (self._anchor(best) if num_shared else after), num_shared

    def spans(self) -> Iterator[Span]:
        """Every span, parents before their children."""
        stack = list(reversed(self._roots))
        while stack:
            span = stack.pop()
            yield span
            stack.extend(reversed(span.children))

    def outputs(self, ordinal: int) -> tuple[Span, ...]:
        """What a turn sampled."""
        return self._outputs[ordinal]

    def equal_turns(self, ordinal: int) -> list[int]:
        """The turns that may train and be the same call as this one, itself among them."""
        turn = self._turns[ordinal]
        return self._by_body.get(turn.body_digest, []) if turn.may_be_unmarked_repeat else []

    def sampled(self, span: Span) -> Output:
        """The output of a span that is not context."""
        return self._turns[span.turn].outputs[span.output]

    def _index(self, turn: Turn) -> None:
        for index, chain in enumerate(turn.output_chains):
            end = Anchor(turn.id, index, turn.outputs[index].num_tokens)
            before = self._chains.get(chain)
            self._chains[chain] = (end,) if before is None else (*before, end)
        if turn.body_digest and turn.may_be_unmarked_repeat and turn.trainable_outputs:
            self._by_body.setdefault(turn.body_digest, []).append(self._ordinals[turn.id])

    def _anchor(self, place: Place) -> Anchor | None:
        if place.span is None:
            return None
        span = place.span
        return Anchor(self._turns[span.turn].id, span.output, span.start + place.offset)

    def _add_context(self, place: Place, turn: Turn, ordinal: int) -> Place:
        """Follow the contexts that are present, then add the new tokens as a span."""
        if not turn.context:
            return place
        if not turn.media and self._is_end(place):  # usually
            span = self._hang(Span(place, turn.context, turn=ordinal, start=0, output=-1))
            return Place(span, len(span))
        ids = turn.context_ids
        keys = self._keys(ids, turn.media)
        done = 0
        while done < len(ids):
            step = self._follow(place, keys[done:])
            if step is None:
                new = turn.context[done * TOKEN.itemsize :]
                span = Span(place, new, turn=ordinal, start=done, output=-1)
                if turn.media:
                    media = tuple(m.moved(-done) for m in turn.media if m.start >= done)
                    span.show(media, keys[done:])
                return Place(self._hang(span), len(span))
            done += step.depth - place.depth
            place = step
        return place

    def _is_end(self, place: Place) -> bool:
        """Whether no tokens come after this place."""
        if place.span is None:
            return not self._roots
        return not place.span.children and place.offset == len(place.span)

    def _follow(self, place: Place, keys: Ids) -> Place | None:
        """The farthest place in one context span that these tokens reach; None if no span starts with them."""
        span, offset = place
        if span is not None and span.is_context and offset < len(span):
            common = common_length(span.keys[offset:], keys)
            if common:
                return Place(span, offset + common)
        for child in self._children(place):
            if child.is_context and (common := common_length(child.keys, keys)):
                return Place(child, common)
        return None

    def _keys(self, ids: Ids, media: Sequence[Media]) -> Ids:
        """The tokens, with each image's run replaced by a number of that image: as tokens all images are equal."""
        if not media:
            return ids
        keys = ids.copy()
        for image in media:
            keys[image.start : image.end] = ~self._images.setdefault(
                image.digest, len(self._images)
            )
        return keys

    def _children(self, place: Place) -> Iterator[Span]:
        if place.span is None:
            return iter(self._roots)
        return (child for child in place.span.children if child.offset == place.offset)

    def _hang(self, span: Span) -> Span:
        if span.parent is None:
            self._roots.append(span)
        else:
            span.parent.children += (span,)
        return span
