"""Encodes rendered prompts and caches pieces that repeat: system prompts, tools, a group's common first message.

A prompt is cut after each end-of-turn token. No merge crosses a special token, so the ids of the pieces join to the ids
of the whole.
"""

from collections import OrderedDict

import numpy as np

from rollout.episode.turn import TOKEN, Ids
from rollout.tokenizer.tokenizer import Tokenizer

MIN_PIECE = 64  # characters; encoding a shorter piece is faster than a cache look-up
MAX_CACHED = 16_000_000  # characters; with their ids about 32 MB


class PromptEncoder:
    def __init__(self, tokenizer: Tokenizer, end_of_turn: str) -> None:
        self._tokenizer = tokenizer
        self._end_of_turn = end_of_turn
        self._cached: OrderedDict[str, Ids] = OrderedDict()
        self._num_characters = 0

    def encode(self, text: str) -> Ids:
        """The ids of a text that starts directly before or after a special token."""
        pieces = [self._encode_piece(piece) for piece in self._pieces(text)]
        return np.concatenate(pieces) if pieces else np.empty(0, TOKEN)

    def _pieces(self, text: str) -> list[str]:
        if not self._end_of_turn:
            return [text]
        *closed, rest = text.split(self._end_of_turn)
        return [piece + self._end_of_turn for piece in closed] + ([rest] if rest else [])

    def _encode_piece(self, piece: str) -> Ids:
        if len(piece) < MIN_PIECE:
            return np.array(self._tokenizer.encode(piece), TOKEN)
        ids = self._cached.get(piece)
        if ids is None:
            ids = self._cached[piece] = np.array(self._tokenizer.encode(piece), TOKEN)
            self._num_characters += len(piece)
        self._cached.move_to_end(piece)
        while self._num_characters > MAX_CACHED:
            dropped, _ = self._cached.popitem(last=False)
            self._num_characters -= len(dropped)
        return ids
