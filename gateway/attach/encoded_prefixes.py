"""The recorded tokens of an episode as JSON, up to the places where its latest calls went on.

A call usually goes on where the one before it ended, so only the tokens since then are written.
"""

import numpy as np

from rollout.episode.span import Place, encode_tokens
from rollout.episode.trie import Trie
from rollout.episode.turn import Anchor, Ids

MAX_PREFIXES = 4  # sub-agents that take turns in one episode


class EncodedPrefixes:
    def __init__(self) -> None:
        self._known: dict[Place, bytes] = {}
        self.num_bytes = 0

    def encoded(self, trie: Trie, anchor: Anchor | None) -> bytes:
        """The tokens from the root to the anchor as JSON numbers with commas between."""
        place = end = trie.place(anchor)
        added: list[Ids] = []
        while place.span is not None and place not in self._known:
            added.append(place.span.tokens[: place.offset])
            place = Place(place.span.parent, place.span.offset)
        if not added:
            return self._known.get(end, b"")
        text = encode_tokens(np.concatenate(added[::-1]))
        if place in self._known:
            text = b"%b,%b" % (self._known[place], text)
            self._drop(place)
        elif len(self._known) >= MAX_PREFIXES:
            self._drop(next(iter(self._known)))
        self._known[end] = text
        self.num_bytes += len(text)
        return text

    def clear(self) -> None:
        self._known.clear()
        self.num_bytes = 0

    def _drop(self, place: Place) -> None:
        self.num_bytes -= len(self._known.pop(place))
