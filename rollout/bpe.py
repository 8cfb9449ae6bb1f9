"""Byte-level BPE at tiktoken's speed, built from a model's own tokenizer.json.

tiktoken takes a token's id for its merge rank, drops text its pattern does not match, and knows no normalizer; what
cannot be expressed under those rules is refused here, and `Tokenizer` then uses `ReferenceCodec`.
"""

from __future__ import annotations

import codecs
import itertools
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec
import regex
import tiktoken

from rollout.model_files import AddedToken, ModelFilesError, read_json

GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# Characters. tiktoken's regular expressions overflow their stack on a million spaces in a row.
LONGEST_PIECE = 400_000
NormalForm = Literal["NFC", "NFD", "NFKC", "NFKD"]
NORMAL_FORMS: tuple[NormalForm, ...] = ("NFC", "NFD", "NFKC", "NFKD")


class UnsupportedTokenizerError(ValueError):
    """tokenizer.json asks for something that tiktoken cannot reproduce."""


class Stage(msgspec.Struct, frozen=True):
    """One normalizer or pre-tokenizer, or a sequence of them."""

    type: str
    pattern: dict[str, str] = {}
    behavior: str = ""
    invert: bool = False
    use_regex: bool = True
    add_prefix_space: bool = False
    individual_digits: bool = False
    pretokenizers: tuple[Stage, ...] = ()
    normalizers: tuple[Stage, ...] = ()


class Model(msgspec.Struct, frozen=True):
    vocab: dict[str, int]
    merges: list[str | tuple[str, str]]
    type: str = "BPE"
    ignore_merges: bool = False
    byte_fallback: bool = False
    dropout: float | None = None
    continuing_subword_prefix: str | None = None
    end_of_word_suffix: str | None = None


class TokenizerFile(msgspec.Struct, frozen=True):
    model: Model
    added_tokens: tuple[AddedToken, ...] = ()
    normalizer: Stage | None = None
    pre_tokenizer: Stage | None = None

    @classmethod
    def read(cls, path: Path) -> TokenizerFile:
        try:
            return read_json(path, cls)
        except (
            ModelFilesError
        ) as error:  # `tokenizers` has read it, so it holds another kind of model
            raise UnsupportedTokenizerError(str(error)) from error


class ByteLevelCodec:
    """Text to ids and back; added tokens are recognised in the text, nothing is added to it."""

    def __init__(self, file: TokenizerFile, *, num_ids: int) -> None:
        *splits, last = _patterns(file.pre_tokenizer)
        self._splits = [regex.compile(source) for source in splits]
        self._form = _normal_form(file.normalizer)
        self._added = _added_ids(file.added_tokens, self._form)
        longest_first = sorted(self._added, key=len, reverse=True)
        self._added_pattern = re.compile(f"({'|'.join(map(re.escape, longest_first))})")
        self._encode_piece = _encoder(file, last, self._added)
        self._bytes = _byte_table(file, num_ids=num_ids)
        special = {token.id for token in file.added_tokens if token.special}
        self._visible = [
            b"" if token in special else data for token, data in enumerate(self._bytes)
        ]

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

    def decode(self, ids: Sequence[int]) -> str:
        return b"".join([self._bytes[token] for token in ids]).decode(errors="replace")

    def visible_text(self, ids: Sequence[int]) -> str:
        return b"".join([self._visible[token] for token in ids]).decode(errors="replace")

    def token_bytes(self, token: int) -> bytes:
        return self._bytes[token]

    def stream_decoder(self) -> ByteStreamDecoder:
        return ByteStreamDecoder(self._visible)

    def _encode_plain(self, text: str) -> list[int]:
        if self._form is not None and not text.isascii():
            text = unicodedata.normalize(self._form, text)
        if len(text) > LONGEST_PIECE:
            cuts = range(0, len(text), LONGEST_PIECE)
            parts = [self._encode_plain(text[cut : cut + LONGEST_PIECE]) for cut in cuts]
            return list(itertools.chain.from_iterable(parts))
        if not self._splits:
            return self._encode_piece(text)
        pieces: Iterable[str] = (text,)
        for split in self._splits:
            pieces = _isolate(split, pieces)
        return [token for piece in pieces for token in self._encode_piece(piece)]


class ByteStreamDecoder:
    """Holds back the bytes of a character that is not whole yet."""

    def __init__(self, visible: list[bytes]) -> None:
        self._visible = visible
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, ids: Sequence[int]) -> str:
        visible = self._visible
        return self._decoder.decode(b"".join([visible[token] for token in ids]))

    def finish(self) -> str:
        """The replacement of a character that never became whole."""
        return self._decoder.decode(b"", final=True)


def _isolate(split: regex.Pattern[str], pieces: Iterable[str]) -> Iterator[str]:
    """'Isolated' of Hugging Face's Split: matches and what lies between them, nothing lost."""
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


def _patterns(stage: Stage | None) -> list[str]:
    if stage is None:
        raise UnsupportedTokenizerError("no pre-tokenizer")
    stages = stage.pretokenizers if stage.type == "Sequence" else (stage,)
    if not stages or stages[-1].type != "ByteLevel" or stages[-1].add_prefix_space:
        raise UnsupportedTokenizerError("the pre-tokenizer does not end in a plain ByteLevel")
    sources = [_split_source(split) for split in stages[:-1]]
    if stages[-1].use_regex:
        sources.append(GPT2_PATTERN)
    return sources or [r"[\s\S]+"]


def _split_source(stage: Stage) -> str:
    if stage.type == "Digits":
        return r"\p{N}" if stage.individual_digits else r"\p{N}+"
    if stage.type != "Split" or stage.behavior != "Isolated" or stage.invert:
        raise UnsupportedTokenizerError(f"pre-tokenizer {stage.type} {stage.behavior}")
    if "Regex" in stage.pattern:
        return stage.pattern["Regex"]
    return re.escape(stage.pattern["String"])


def _normal_form(stage: Stage | None) -> NormalForm | None:
    if stage is None:
        return None
    if stage.type == "Sequence":
        forms = {_normal_form(part) for part in stage.normalizers}
        if len(forms) <= 1:
            return forms.pop() if forms else None
    for form in NORMAL_FORMS:
        if stage.type == form:
            return form
    raise UnsupportedTokenizerError(f"normalizer {stage.type}")


def _added_ids(tokens: Iterable[AddedToken], form: NormalForm | None) -> dict[str, int]:
    ids = {}
    for token in tokens:
        if token.lstrip or token.rstrip or token.single_word or (token.normalized and form):
            raise UnsupportedTokenizerError(f"added token {token.content!r} matches by context")
        ids[token.content] = token.id
    return ids


def _encoder(
    file: TokenizerFile, pattern: str, added: dict[str, int]
) -> Callable[[str], list[int]]:
    # Text between matches is one piece for Hugging Face and lost for tiktoken, hence the second branch.
    covering = rf"{pattern}|(?:(?!{pattern})[\s\S])+"
    ranks = _ranks(file.model, added)
    return tiktoken.Encoding(
        "model", pat_str=covering, mergeable_ranks=ranks, special_tokens={}
    ).encode_ordinary


def _ranks(model: Model, added: dict[str, int]) -> dict[bytes, int]:
    if model.type != "BPE" or model.byte_fallback or model.dropout:
        raise UnsupportedTokenizerError("the model is not a plain byte-level BPE")
    if model.continuing_subword_prefix or model.end_of_word_suffix:
        raise UnsupportedTokenizerError("the model marks subwords")
    merged = [model.vocab[_merged_text(merge)] for merge in model.merges]
    if any(later < earlier for earlier, later in itertools.pairwise(merged)):
        raise UnsupportedTokenizerError("ids are not in merge order")
    reachable = set(merged)
    ranks = {
        _to_bytes(text): token
        for text, token in model.vocab.items()
        if text not in added and (len(text) == 1 or token in reachable or model.ignore_merges)
    }
    if any(bytes([value]) not in ranks for value in range(256)):
        raise UnsupportedTokenizerError("the vocabulary lacks single bytes")
    return ranks


def _merged_text(merge: str | tuple[str, str]) -> str:
    return merge.replace(" ", "", 1) if isinstance(merge, str) else merge[0] + merge[1]


def _byte_table(file: TokenizerFile, *, num_ids: int) -> list[bytes]:
    added = {token.content: token.id for token in file.added_tokens}
    ids = [*file.model.vocab.values(), *added.values()]
    table = [b""] * max(num_ids, max(ids) + 1)
    for text, token in file.model.vocab.items():
        if text not in added:
            table[token] = _to_bytes(text)
    for text, token in added.items():
        table[token] = text.encode()
    return table


def _to_bytes(text: str) -> bytes:
    try:
        return text.translate(_BYTE_OF_CHARACTER).encode("latin-1")
    except UnicodeEncodeError:
        raise UnsupportedTokenizerError(f"token {text!r} is not byte-level") from None


def _byte_alphabet() -> dict[int, int]:
    """GPT-2's printable character for each byte, backwards; any other character maps past latin-1."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [value for value in range(256) if value not in printable]
    shifted = {0x100 + index: value for index, value in enumerate(others)}
    return {**dict.fromkeys(others, 0xFFFF), **shifted, **{v: v for v in printable}}


_BYTE_OF_CHARACTER = _byte_alphabet()
