"""Encodes rendered prompts and caches pieces that repeat: system prompts, tools, a group's common first message.

A prompt is cut after each end-of-turn token. No merge crosses a special token, so the ids of the pieces join to the ids
of the whole. A long text is encoded in slices on a thread, where tiktoken leaves the event loop running, and only until
it holds more tokens than the context.
"""

from collections import OrderedDict
from collections.abc import Iterator
from sys import getsizeof
from typing import NamedTuple

import numpy as np
from anyio import to_thread
from anyio.lowlevel import checkpoint

from gateway.errors import ContextOverflow
from rollout.episode.turn import TOKEN, Ids
from rollout.tokenizer.tokenizer import Tokenizer

MAX_CACHED = 32_000_000  # bytes of texts and ids
ENTRY_BYTES = 300  # of the objects that hold them
LONG = 65_536  # characters; a shorter text is encoded in about ten milliseconds, on the event loop
MIN_BATCH = 16_384  # tokens that are worth a change of thread


class Entry(NamedTuple):
    """The ids of a piece."""

    ids: Ids
    num_bytes: int  # when it was kept; Python may add an encoded copy to a text later


class PromptEncoder:
    def __init__(self, tokenizer: Tokenizer, end_of_turn: str) -> None:
        self._tokenizer = tokenizer
        self._end_of_turn = end_of_turn
        self._cached: OrderedDict[str, Entry] = OrderedDict()
        self.num_bytes = 0

    async def encode(self, text: str) -> Ids:
        """The ids of a text that starts directly before or after a special token. Raises ContextOverflow."""
        if len(text) < LONG:
            pieces = [self._encode_piece(piece) for piece in self._pieces(text)]
            return np.concatenate(pieces) if pieces else np.empty(0, TOKEN)
        return await self._encode_long(text)

    async def encode_whole(self, text: str) -> list[int]:
        """The ids of any text, not cached. Raises ContextOverflow."""
        if len(text) < LONG:
            return self._tokenizer.encode(text)
        ids = await self._encode_slices(text, room=self._tokenizer.context_length)
        return ids.tolist()  # type: ignore[no-any-return]

    async def _encode_long(self, text: str) -> Ids:
        """Piece by piece: other calls go on between two of them, and nothing is encoded after the context is full."""
        room = self._tokenizer.context_length
        encoded: list[Ids] = []
        num_characters = 0  # since other calls went on
        for piece in self._pieces(text):
            if len(piece) >= LONG and piece not in self._cached:
                encoded.append(self._remembered(piece, await self._encode_slices(piece, room=room)))
                num_characters = 0
            else:
                encoded.append(self._encode_piece(piece))
                num_characters += len(piece)
            room -= len(encoded[-1])
            if room < 0:
                raise self._overflow()
            if num_characters >= LONG:
                await checkpoint()
                num_characters = 0
        return np.concatenate(encoded)

    async def _encode_slices(self, text: str, *, room: int) -> Ids:
        if self._tokenizer.fewest_tokens(text) > room:
            raise self._overflow()
        slices = self._tokenizer.encode_slices(text)
        encoded: list[Ids] = []
        while len(ids := await to_thread.run_sync(_batch, slices)):
            encoded.append(ids)
            room -= len(ids)
            if room < 0:
                raise self._overflow()
        return np.concatenate(encoded)

    def _overflow(self) -> ContextOverflow:
        return ContextOverflow(
            f"this model's context length is {self._tokenizer.context_length} tokens; the messages hold more: "
            "shorten them",
            param="messages",
        )

    def _pieces(self, text: str) -> list[str]:
        if not self._end_of_turn:
            return [text]
        *closed, rest = text.split(self._end_of_turn)
        return [piece + self._end_of_turn for piece in closed] + ([rest] if rest else [])

    def _encode_piece(self, piece: str) -> Ids:
        entry = self._cached.get(piece)
        if entry is None:
            return self._remembered(piece, np.array(self._tokenizer.encode(piece), TOKEN))
        self._cached.move_to_end(piece)
        return entry.ids

    def _remembered(self, piece: str, ids: Ids) -> Ids:
        if piece not in self._cached:
            # A character takes up to 4 bytes.
            num_bytes = ENTRY_BYTES + getsizeof(piece) + ids.nbytes
            self._cached[piece] = Entry(ids, num_bytes)
            self.num_bytes += num_bytes
        while self.num_bytes > MAX_CACHED:
            self.num_bytes -= self._cached.popitem(last=False)[1].num_bytes
        return ids


def _batch(slices: Iterator[list[int]]) -> Ids:
    """The next ids, on a thread; none at the end."""
    ids: list[int] = []
    for piece in slices:
        ids += piece
        if len(ids) >= MIN_BATCH:
            break
    return np.array(ids, TOKEN)
