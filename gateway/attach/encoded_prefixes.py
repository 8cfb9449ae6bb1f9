"""The recorded tokens of an episode as JSON, up to the places where its latest calls went on.

A call usually goes on where the one before it ended, so only the tokens since then are written. The text is kept in
pieces: one that grew with each turn would be copied with each turn, and leave a hole of its old size in memory.
"""

import numpy as np

from rollout.episode.span import Place, encode_tokens
from rollout.episode.trie import Trie
from rollout.episode.turn import TOKEN, Anchor

MAX_PREFIXES = 4  # sub-agents that take turns in one episode
PIECE_BYTES = 32_768


class EncodedPrefixes:
    def __init__(self) -> None:
        self._known: dict[Place, list[bytes]] = {}
        self.num_bytes = 0

    def pieces(self, trie: Trie, anchor: Anchor | None) -> list[bytes]:
        """The tokens from the root to the anchor as JSON numbers, to be joined by commas."""
        place = end = trie.place(anchor)
        added: list[bytes] = []
        while place.span is not None and place not in self._known:
            added.append(place.span.data(place.offset))
            place = Place(place.span.parent, place.span.offset)
        if not added:
            return self._known.get(end, [])
        if place not in self._known and len(self._known) >= MAX_PREFIXES:
            self._drop(next(iter(self._known)))
        pieces = self._drop(place) if place in self._known else []
        _append(pieces, encode_tokens(np.frombuffer(b"".join(added[::-1]), TOKEN)))
        self._known[end] = pieces
        self.num_bytes += sum(map(len, pieces))
        return pieces

    def clear(self) -> None:
        self._known.clear()
        self.num_bytes = 0

    def _drop(self, place: Place) -> list[bytes]:
        pieces = self._known.pop(place)
        self.num_bytes -= sum(map(len, pieces))
        return pieces


def _append(pieces: list[bytes], text: bytes) -> None:
    """Put a text after the others, in the last piece if that is short."""
    if pieces and len(pieces[-1]) + len(text) < PIECE_BYTES:
        pieces[-1] = b"%b,%b" % (pieces[-1], text)
    else:
        pieces.append(text)
