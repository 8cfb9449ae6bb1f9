"""The tokens of a call: the recorded ones up to a place in the trie, then those that the call adds.

Only the new tokens are written as JSON; the history remembers that of the recorded ones. The array of all ids is made on
demand.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from gateway.attach.episode_history import EpisodeHistory
from rollout.episode.span import encode_tokens
from rollout.episode.turn import TOKEN, Anchor, Ids, Media
from rollout.tokenizer.vision import collapse


class Prompt:
    def __init__(
        self,
        history: EpisodeHistory,
        anchor: Anchor | None,
        context: Ids,
        media: Sequence[Media] = (),
    ) -> None:
        self._history = history
        self._trie = trie = history.trie
        self._anchor = anchor
        self._context = context
        depth = trie.depth(anchor)
        self.num_tokens = depth + len(context)
        self.media = [*trie.media(anchor), *(image.moved(depth) for image in media)]

    @cached_property
    def ids(self) -> Ids:
        if self._anchor is None:
            return self._context
        recorded = np.array(self._trie.tokens(self._anchor), TOKEN)
        return np.concatenate([recorded, self._context])

    @cached_property
    def collapsed(self) -> Ids:
        """With one placeholder per image, as an engine expects it: the engine expands images itself."""
        return collapse(self.ids, self.media)

    def encoded(self) -> bytes:
        """The JSON array that an engine is sent."""
        if self.media:
            return b"[%b]" % encode_tokens(self.collapsed)
        pieces = [*self._history.prefixes.pieces(self._trie, self._anchor)]
        if len(self._context) or not pieces:
            pieces.append(encode_tokens(self._context))
        # The brackets go into the ends, so that a long text is copied once.
        pieces[0] = b"[" + pieces[0]
        pieces[-1] += b"]"
        return b",".join(pieces)

    def tail(self, num_tokens: int) -> list[int]:
        """The last ids."""
        new: list[int] = self._context[-num_tokens:].tolist()
        return self._trie.tail(self._anchor, num_tokens - len(new)) + new
