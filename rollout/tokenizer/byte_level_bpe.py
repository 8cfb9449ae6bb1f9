"""Byte-level BPE by tiktoken, built from a model's own files: 3 to 5 times as fast as `tokenizers` (tests/bench/tokens/encoding.py)."""

from __future__ import annotations

import codecs
import itertools
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence

import regex
import tiktoken

from rollout.tokenizer.vocabulary import Vocabulary

# Characters. tiktoken's regular expressions overflow their stack on a million spaces in a row.
LONGEST_PIECE = 400_000
UTF_8 = codecs.getincrementaldecoder("utf-8")


class ByteLevelCodec:
    """Text to ids and back; added tokens are recognized in the text, and no token is added to it."""

    kind = "tiktoken"

    def __init__(self, vocabulary: Vocabulary, *, num_ids: int) -> None:
        self._splits = [regex.compile(source) for source in vocabulary.splits]
        self._form = vocabulary.form
        self._added = {token.content: token.id for token in vocabulary.added}
        longest_first = sorted(self._added, key=len, reverse=True)
        self._added_pattern = re.compile(f"({'|'.join(map(re.escape, longest_first))})")
        self._encode_piece = _encoder(vocabulary)
        self._bytes = vocabulary.byte_table(num_ids)
        self._longest_token = max(map(len, self._bytes))  # in bytes
        special = {token.id for token in vocabulary.added if token.special}
        self._visible = [
            b"" if token in special else data for token, data in enumerate(self._bytes)
        ]
        self._tables: dict[frozenset[int], list[bytes]] = {frozenset(): self._visible}

    @property
    def num_ids(self) -> int:
        return len(self._bytes)

    def encode(self, text: str) -> list[int]:
        if not self._added:
            return self._encode_plain(text)
        ids: list[int] = []
        pieces = iter(self._added_pattern.split(text))
        for plain in pieces:
            if plain:
                ids += self._encode_plain(plain)
            if added := next(pieces, None):
                ids.append(self._added[added])
        return ids

    def encode_slices(self, text: str) -> Iterator[list[int]]:
        pieces = iter(self._added_pattern.split(text) if self._added else (text,))
        for plain in pieces:
            yield from map(self._encode_slice, self._slices(plain))
            if added := next(pieces, None):
                yield [self._added[added]]

    def fewest_tokens(self, text: str) -> int:
        # A character has at least one byte; normalizing joins at most four characters.
        joined = 1 if self._form is None or text.isascii() else 4
        return len(text) // (joined * self._longest_token)

    def decode(self, ids: Sequence[int]) -> str:
        return b"".join(map(self._bytes.__getitem__, ids)).decode(errors="replace")

    def visible_text(self, ids: Sequence[int]) -> str:
        return b"".join(map(self._visible.__getitem__, ids)).decode(errors="replace")

    def token_bytes(self, token: int) -> bytes:
        return self._bytes[token]

    def stream_decoder(self, shown: Sequence[int]) -> ByteStreamDecoder:
        return ByteStreamDecoder(self._texts_with(frozenset(shown)))

    def _texts_with(self, shown: frozenset[int]) -> list[bytes]:
        """The text of each token in a stream. A model's formats show a few sets of special tokens, so each table is made once."""
        table = self._tables.get(shown)
        if table is None:
            table = self._tables[shown] = list(self._visible)
            for token in shown:
                table[token] = self._bytes[token]
        return table

    def _encode_plain(self, text: str) -> list[int]:
        if self._form is None and len(text) <= LONGEST_PIECE:
            return self._encode_slice(text)
        return list(itertools.chain.from_iterable(map(self._encode_slice, self._slices(text))))

    def _slices(self, text: str) -> Iterator[str]:
        if self._form is not None and not text.isascii():
            text = unicodedata.normalize(self._form, text)
        for cut in range(0, len(text), LONGEST_PIECE):
            yield text[cut : cut + LONGEST_PIECE]

    def _encode_slice(self, text: str) -> list[int]:
        if not self._splits:
            return self._encode_piece(text)
        pieces: Iterable[str] = (text,)
        for split in self._splits:
            pieces = _isolate(split, pieces)
        return [token for piece in pieces for token in self._encode_piece(piece)]


class ByteStreamDecoder:
    """Holds back the bytes of an incomplete character."""

    def __init__(self, texts: list[bytes]) -> None:
        self._text_of = texts.__getitem__
        self._decoder = UTF_8(errors="replace")

    def push(self, ids: Sequence[int]) -> str:
        return self._decoder.decode(b"".join(map(self._text_of, ids)))

    def finish(self) -> str:
        """The replacement character for a character that never became complete."""
        return self._decoder.decode(b"", final=True)


def _isolate(split: regex.Pattern[str], pieces: Iterable[str]) -> Iterator[str]:
    """'Isolated' of Hugging Face's Split: the matches and the texts between them."""
    for piece in pieces:
        end = 0
        for match in split.finditer(piece):
            if match.start() > end:
                yield piece[end : match.start()]
            if match.end() > match.start():
                yield match.group()
            end = match.end()
        if end < len(piece):
            yield piece[end:]


def _encoder(vocabulary: Vocabulary) -> Callable[[str], list[int]]:
    # tiktoken drops text between matches, which Hugging Face takes as one piece; the second branch matches it.
    pattern = vocabulary.pattern
    covering = rf"{pattern}|(?:(?!{pattern})[\s\S])+"
    return tiktoken.Encoding(
        "model", pat_str=covering, mergeable_ranks=dict(vocabulary.ranks), special_tokens={}
    ).encode_ordinary
