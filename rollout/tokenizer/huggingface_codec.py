"""Hugging Face's `tokenizers` as a codec: `ByteLevelCodec` must agree with it, and is replaced by it otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tokenizers import Tokenizer as HuggingFaceTokenizer

from rollout.tokenizer.model_directory import ModelDirectoryError

UNFINISHED = "\N{REPLACEMENT CHARACTER}"


class HuggingFaceCodec:
    """Reads any tokenizer.json, at a third to a fifth of the speed."""

    kind = "tokenizers"

    def __init__(self, path: Path) -> None:
        try:
            self._tokenizer = HuggingFaceTokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing narrower
            raise ModelDirectoryError(f"{path} is no tokenizer we know: {error}") from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        added = self._tokenizer.get_added_tokens_decoder()
        self._special = frozenset(id_ for id_, token in added.items() if token.special)

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def encode_slices(self, text: str) -> Iterator[list[int]]:
        # `encode_batch` leaves other threads running while it works; `encode` does not.
        (encoding,) = self._tokenizer.encode_batch([text], add_special_tokens=False)
        yield encoding.ids

    def fewest_tokens(self, text: str) -> int:
        return 0  # a normalizer may drop any part of the text

    def decode(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=False)
        return text

    def visible_text(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True)
        return text

    def token_bytes(self, token: int) -> bytes:
        return self.decode([token]).encode()

    def stream_decoder(self, shown: Sequence[int]) -> HuggingFaceStreamDecoder:
        return HuggingFaceStreamDecoder(self, self._special.difference(shown))


class HuggingFaceStreamDecoder:
    """Decodes a sliding window: a token's text may depend on the token before it (a leading space, half a character)."""

    def __init__(self, codec: HuggingFaceCodec, hidden: frozenset[int]) -> None:
        self._codec = codec
        self._hidden = hidden
        self._window: list[int] = []
        self._num_context = 0

    def push(self, ids: Sequence[int]) -> str:
        self._window += [token for token in ids if token not in self._hidden]
        new = self._new_text()
        if new.endswith(UNFINISHED):
            return ""
        if new:  # the window must not shrink to tokens without text
            self._window = self._window[self._num_context :]
        self._num_context = len(self._window)
        return new

    def finish(self) -> str:
        """The text that was held back, with the replacement character for an incomplete character."""
        new = self._new_text()
        self._num_context = len(self._window)
        return new

    def _new_text(self) -> str:
        known = self._codec.decode(self._window[: self._num_context])
        return self._codec.decode(self._window)[len(known) :]
