"""The served model's tokenizer, and the few facts about the model that rendering and serving need.

Encoding adds no token that the text does not spell, and the pieces of a decoded stream join to the decoded whole.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from rollout.tokenizer.byte_level_bpe import ByteLevelCodec
from rollout.tokenizer.huggingface_codec import HuggingFaceCodec
from rollout.tokenizer.model_directory import ModelDirectory, ModelDirectoryError
from rollout.tokenizer.tiktoken_file import read_vocabulary
from rollout.tokenizer.tokenizer_file import TokenizerFile, UnsupportedTokenizerError, vocabulary

log = logging.getLogger(__name__)

AWKWARD_TEXTS = (
    "",
    " ",
    "\n",
    " \n \n\n  \t x",
    "Hello, world!  It's   3.14159 o'clock; they'LL'VE 1234567 ½ ² Ⅷ ٣٤",
    "def f(x):\n\treturn {'a': [1, 2, 3]}\r\n    # done\n\n\n",
    '{"name": "price", "arguments": {"item": "melon"}}\n</tool_call>',
    "naïve cafe\u0301 Å ﬁ ẛ̣ 한국어 ᄒ\u1161ᆫ 漢字かなカナ123 ไทย हिन्दी עִבְרִית العَرَبِيَّة",
    "🙂👩‍👩‍👧‍👦🏳️‍🌈 e\u0301\u0323 \u00a0\u3000\u200b\ufeff\u2028 \x00\x7f \ufffd zero\u200dwidth",
    "<|im_start|>user\n<think>\n</think>\n\n<tool_call><|im_end|> <s>[INST]</s><|eot_id|>>\u0338",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa ======================== ........ !!!!!?? \\n\\\\ //",
)
SAMPLED_TOKENS = 4000  # of the vocabulary, as further texts; encoding them takes about 50 ms


class StreamDecoder(Protocol):
    """Turns ids that arrive in pieces into visible text, never half a character."""

    def push(self, ids: Sequence[int], /) -> str: ...
    def finish(self) -> str: ...


class Codec(Protocol):
    """Text and ids of one tokenizer.json; *visible* text leaves special tokens out."""

    kind: str  # the name of its library

    def encode(self, text: str, /) -> list[int]: ...

    def encode_slices(self, text: str, /) -> Iterator[list[int]]:
        """The ids of `encode` in slices, each of which takes a tenth of a second at most, so that a caller may stop."""

    def fewest_tokens(self, text: str, /) -> int:
        """No encoding of this text is shorter; costs no encoding."""

    def decode(self, ids: Sequence[int], /) -> str: ...
    def visible_text(self, ids: Sequence[int], /) -> str: ...
    def token_bytes(self, token: int, /) -> bytes: ...
    def stream_decoder(self, shown: Sequence[int], /) -> StreamDecoder: ...


class TokenFacts(msgspec.Struct, frozen=True):
    """`vocab_size` is the number of embedding rows: an id at or above it must never reach an engine."""

    vocab_size: int
    context_length: int
    eos_ids: frozenset[int]
    special_ids: frozenset[int]
    special_tokens: Mapping[str, str]
    added_ids: Mapping[str, int]


class Tokenizer:
    """A codec together with the model's token facts."""

    def __init__(self, codec: Codec, facts: TokenFacts) -> None:
        self.kind = codec.kind
        self.encode = codec.encode
        self.encode_slices = codec.encode_slices
        self.fewest_tokens = codec.fewest_tokens
        self.decode = codec.decode
        self.visible_text = codec.visible_text
        self.token_bytes = codec.token_bytes
        self._stream_decoder = codec.stream_decoder
        self.vocab_size = facts.vocab_size
        self.context_length = facts.context_length
        self.eos_ids = facts.eos_ids
        self.special_ids = facts.special_ids
        self.special_tokens = facts.special_tokens
        self._added_ids = facts.added_ids

    @classmethod
    def load(cls, model_dir: str | Path) -> Tokenizer:
        files = ModelDirectory(model_dir)
        facts = _read_facts(files)
        if (path := files.tiktoken_path()) is not None:
            named = read_vocabulary(path, files.added_tokens())
            return cls(ByteLevelCodec(named, num_ids=facts.vocab_size), facts)
        return cls(_fastest_exact_codec(files.tokenizer_path(), facts.vocab_size), facts)

    def stream_decoder(self, shown: Iterable[str] = ()) -> StreamDecoder:
        """Decodes one output; of special tokens the text holds only those `shown` (a parser's markup)."""
        added = self._added_ids
        return self._stream_decoder([added[text] for text in shown if text in added])

    def text_decoder(self) -> StreamDecoder:
        """Decodes everything that `decode` does, special tokens included."""
        return self._stream_decoder(list(self.special_ids))

    def token_id(self, text: str) -> int | None:
        """The id of the added token spelled like this."""
        return self._added_ids.get(text)


def _read_facts(files: ModelDirectory) -> TokenFacts:
    config, tokenizer_config = files.config(), files.tokenizer_config()
    added = files.added_tokens()
    added_ids = {token.content: token.id for token in added}
    eos_ids = config.eos_ids | files.generation_eos_ids()
    if (eos := added_ids.get(tokenizer_config.special_tokens.get("eos_token", ""))) is not None:
        eos_ids.add(eos)
    if not eos_ids:
        raise ModelDirectoryError(f"{files.directory} names no eos_token_id; add it to config.json")
    return TokenFacts(
        vocab_size=_stated(config.text.vocab_size, "vocab_size", files),
        context_length=_stated(
            config.text.max_position_embeddings, "max_position_embeddings", files
        ),
        eos_ids=frozenset(eos_ids),
        special_ids=frozenset(token.id for token in added if token.special),
        special_tokens=tokenizer_config.special_tokens,
        added_ids=added_ids,
    )


def _stated(value: int | None, name: str, files: ModelDirectory) -> int:
    if value is None:
        raise ModelDirectoryError(f"{files.directory / 'config.json'} does not state {name}")
    return value


def _fastest_exact_codec(path: Path, vocab_size: int) -> Codec:
    huggingface = HuggingFaceCodec(path)
    try:
        codec = ByteLevelCodec(vocabulary(TokenizerFile.read(path)), num_ids=vocab_size)
    except UnsupportedTokenizerError as error:
        log.warning("tokenizer falls back to `tokenizers`", extra={"reason": str(error)})
        return huggingface
    if (text := _first_disagreement(codec, huggingface)) is not None:
        log.warning(
            "tokenizer falls back to `tokenizers`", extra={"reason": f"differs on {text!r}"}
        )
        return huggingface
    return codec


def _first_disagreement(codec: ByteLevelCodec, huggingface: HuggingFaceCodec) -> str | None:
    for text in _parity_texts(codec):
        ids = huggingface.encode(text)
        if codec.encode(text) != ids or codec.visible_text(ids) != huggingface.visible_text(ids):
            return text
    return None


def _parity_texts(codec: ByteLevelCodec) -> Iterator[str]:
    yield from AWKWARD_TEXTS
    stride = codec.num_ids // SAMPLED_TOKENS + 1
    words = [codec.decode([token]) for token in range(0, codec.num_ids, stride)]
    yield from words
    yield from (a + b for a, b in zip(words, reversed(words), strict=True))
