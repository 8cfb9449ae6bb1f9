"""The tokens of a call: recorded ones up to a place in the trie, then what the call adds.

Only what is new is written as JSON; each recorded span keeps its own. The array of all ids is made for callers who ask.
"""

from functools import cached_property

import numpy as np

from gateway.encoding import Ids
from rollout.episode import TOKEN, Anchor
from rollout.trie import Trie, encode_tokens


class Prompt:
    def __init__(self, trie: Trie, anchor: Anchor | None, context: Ids) -> None:
        self._trie = trie
        self._anchor = anchor
        self._context = context
        self.num_tokens = trie.depth(anchor) + len(context)

    @cached_property
    def ids(self) -> Ids:
        if self._anchor is None:
            return self._context
        recorded = np.array(self._trie.tokens(self._anchor), TOKEN)
        return np.concatenate([recorded, self._context])

    def encoded(self) -> bytes:
        """A JSON array of the ids."""
        pieces = self._trie.encoded(self._anchor)
        if len(self._context):
            pieces.append(encode_tokens(self._context))
        return b"[%b]" % b",".join(pieces)

    def tail(self, num_tokens: int) -> list[int]:
        """The last ids."""
        new: list[int] = self._context[-num_tokens:].tolist()
        return self._trie.tail(self._anchor, num_tokens - len(new)) + new
