"""What a byte-level codec is made of, from whichever file it was read."""

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
    texts: Mapping[
        int, bytes
    ]  # of all tokens but the added ones, those that no merge makes included
    added: tuple[AddedToken, ...]

    def byte_table(self, num_ids: int) -> list[bytes]:
        """The bytes of each id; an id that no token has says nothing."""
        texts = {**self.texts, **{token.id: token.content.encode() for token in self.added}}
        table = [b""] * max(num_ids, max(texts) + 1)
        for token, data in texts.items():
            table[token] = data
        return table
