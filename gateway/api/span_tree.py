"""The tree of an episode's tokens as the control plane shows it: each distinct token once, below the tokens it follows.

A character whose bytes lie in two spans is in the text of the second. A context that ends in tokens forced on the model is
shown as two spans, because they are of two kinds.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from gateway.api.responses import MediaObject, SpanObject, TokensView
from gateway.api.token_text import LONGEST_CHARACTER, TokenText
from rollout.episode.episode_records import EpisodeView
from rollout.episode.sequences import is_passed_over, is_trainable, leaves, linearize
from rollout.episode.span import Place, Span, path
from rollout.episode.trie import Trie
from rollout.episode.turn import OutputFlags
from rollout.tokenizer.tokenizer import Tokenizer

Kind = Literal["context", "sampled", "forced"]
Orphaned = Literal["abandoned", "side", "passed_over", "lost"]
TrainedRun = tuple[int, int, int]  # row, start, end


class SpanPart(NamedTuple):
    """Tokens [start, end) of a span, all of one kind."""

    span: Span
    start: int
    end: int
    kind: Kind


class SpanTree:
    """One reading of an episode."""

    def __init__(self, episode: EpisodeView, tokenizer: Tokenizer) -> None:
        self._trie = episode.trie()
        self._text = TokenText(tokenizer)
        self._eos_ids = tokenizer.eos_ids
        self._pieces = {span: list(self._cut(span)) for span in self._trie.spans()}
        every = (piece for pieces in self._pieces.values() for piece in pieces)
        self._ids = {piece: f"span_{number}" for number, piece in enumerate(every)}
        self._trained = trained_parts(self._trie)
        self._episode_id = episode.header.id

    def view(self) -> TokensView:
        return TokensView(id=self._episode_id, data=[self._object(piece) for piece in self._ids])

    def _cut(self, span: Span) -> Iterator[SpanPart]:
        if not span.is_context:
            yield SpanPart(span, 0, len(span), "sampled")
            return
        turn = self._trie.turn_at(span.turn)
        cut = min(max(len(turn.context_ids) - turn.forced - span.start, 0), len(span))
        if cut:
            yield SpanPart(span, 0, cut, "context")
        if cut < len(span):
            yield SpanPart(span, cut, len(span), "forced")

    def _object(self, piece: SpanPart) -> SpanObject:
        span, start, end, kind = piece
        output = None if span.is_context else self._trie.sampled(span)
        parent, offset = self._parent(piece)
        parts = self._trained.get(span, [])
        return SpanObject(
            id=self._ids[piece],
            parent=None if parent is None else self._ids[parent],
            offset=offset,
            kind=kind,
            turn_id=self._trie.turn_at(span.turn).id,
            turn_kind=self._trie.turn_at(span.turn).kind,
            choice_index=None if span.is_context else span.output,
            tokens=span.tokens[start:end].tolist(),
            text=self._text_of(piece),
            behavior_logprobs=None if output is None else output.behavior_logprobs.tolist(),
            versions=[]
            if output is None
            else [(v.version, v.start, v.end) for v in output.versions],
            flags=flag_names(self._closes_cut(piece) if output is None else output.flags),
            trains=bool(parts),
            orphaned=orphaned_as(self._trie, span),
            action_mask=[any(a <= t < b for _, a, b in parts) for t in range(end - start)],
            rows=parts,
            media=[
                MediaObject.model_validate(image.moved(-start))
                for image in span.media
                if start <= image.start < end
            ],
        )

    def _closes_cut(self, piece: SpanPart) -> OutputFlags:
        """Whether a context begins with the end token of the output before it, which was cut."""
        span, parent = piece.span, piece.span.parent
        if piece.start or parent is None or parent.is_context or span.offset < len(parent):
            return OutputFlags.NONE
        is_cut = self._trie.sampled(parent).flags & OutputFlags.TRUNCATED
        is_end = int(span.tokens[0]) in self._eos_ids
        return OutputFlags.INJECTED_EOS if is_cut and is_end else OutputFlags.NONE

    def _parent(self, piece: SpanPart) -> tuple[SpanPart | None, int]:
        """The part that it continues, and how many tokens of that part come before it."""
        span = piece.span
        place = Place(span, piece.start) if piece.start else Place(span.parent, span.offset)
        if place.span is None:
            return None, 0
        *_, parent = (p for p in self._pieces[place.span] if p.start < place.offset or not p.start)
        return parent, place.offset - parent.start

    def _text_of(self, piece: SpanPart) -> str:
        span, start, end, _ = piece
        return self._text.of(
            span.tokens[start:end].tolist(),
            before=self._before(Place(span, start)),
            is_continued=end < len(span) or any(child.offset == end for child in span.children),
        )

    def _before(self, place: Place) -> list[int]:
        """The last tokens before this place, in which an incomplete character may have begun."""
        found: list[int] = []
        while place.span is not None and len(found) < LONGEST_CHARACTER:
            span, end = place.span, place.offset
            found = span.tokens[:end][-LONGEST_CHARACTER:].tolist() + found
            place = Place(span.parent, span.offset)
        return found


def trained_parts(trie: Trie) -> dict[Span, list[TrainedRun]]:
    """Where each sampled token trains: tokens [start, end) of a span, in that row of `linearize`."""
    parts: dict[Span, list[TrainedRun]] = {}
    for row, (leaf, sequence) in enumerate(zip(leaves(trie), linearize(trie), strict=True)):
        for span, end in path(Place(leaf, len(leaf))):
            trains = sequence.action_mask[span.depth : span.depth + end].nonzero()[0]
            if len(trains):
                parts.setdefault(span, []).append((row, int(trains[0]), int(trains[-1]) + 1))
    return parts


def orphaned_as(trie: Trie, span: Span) -> Orphaned | None:
    """Why no sequence contains what was sampled here; None for what trains and for context."""
    if span.is_context or not len(span) or is_trainable(trie, span):
        return None
    if trie.turn_at(span.turn).kind != "train":
        return "side"
    if trie.sampled(span).is_abandoned:
        return "abandoned"
    return "passed_over" if is_passed_over(trie, span) else "lost"


def flag_names(flags: int) -> list[str]:
    """The flags of an output in words."""
    return [flag.name.lower() for flag in OutputFlags(flags) if flag.name]
