"""The vocabulary of a byte-level codec, read from tokenizer.json or tiktoken.model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from rollout.tokenizer.model_directory import AddedToken

NormalForm = Literal["NFC", "NFD", "NFKC", "NFKD"]


class Vocabulary(msgspec.Struct, frozen=True):
    """Text is normalized, cut by all of `splits`, then by `pattern`; pieces are merged in the order of `ranks`."""

    splits: tuple[str, ...]
    pattern: str
    form: NormalForm | None
    ranks: Mapping[bytes, int]
    texts: Mapping[int, bytes]  # of all tokens but added ones, also of those that no merge makes
    added: tuple[AddedToken, ...]

    def byte_table(self, num_ids: int) -> list[bytes]:
        """The bytes of each id; empty for an id without a token."""
        texts = {**self.texts, **{token.id: token.content.encode() for token in self.added}}
        table = [b""] * max(num_ids, max(texts) + 1)
        for token, data in texts.items():
            table[token] = data
        return table
