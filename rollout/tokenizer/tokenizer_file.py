"""Reads the tokenizer.json of a byte-level BPE into a vocabulary for tiktoken.

Refuses whatever tiktoken cannot express: its token ids are the merge ranks, and a piece that is in the vocabulary is
always one token.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from rollout.tokenizer.model_directory import AddedToken, ModelDirectoryError, read_json
from rollout.tokenizer.vocabulary import NormalForm, Vocabulary

GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
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
        """Refuse a file that cannot be read: it is another kind of model, which `tokenizers` may know."""
        try:
            return read_json(path, cls)
        except ModelDirectoryError as error:
            raise UnsupportedTokenizerError(str(error)) from error


def vocabulary(file: TokenizerFile) -> Vocabulary:
    *splits, pattern = _patterns(file.pre_tokenizer)
    form = _normal_form(file.normalizer)
    _check_added(file.added_tokens, form)
    added = {token.content for token in file.added_tokens}
    plain = {text: token for text, token in file.model.vocab.items() if text not in added}
    return Vocabulary(
        splits=tuple(splits),
        pattern=pattern,
        form=form,
        ranks=_ranks(file.model, plain),
        texts={token: _to_bytes(text) for text, token in plain.items()},
        added=file.added_tokens,
    )


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


def _check_added(tokens: Iterable[AddedToken], form: NormalForm | None) -> None:
    for token in tokens:
        if token.lstrip or token.rstrip or token.single_word or (token.normalized and form):
            raise UnsupportedTokenizerError(f"added token {token.content!r} matches by context")


def _ranks(model: Model, plain: Mapping[str, int]) -> dict[bytes, int]:
    if model.type != "BPE" or model.byte_fallback or model.dropout:
        raise UnsupportedTokenizerError("the model is not a plain byte-level BPE")
    if model.continuing_subword_prefix or model.end_of_word_suffix:
        raise UnsupportedTokenizerError("the model marks subwords")
    merged = [model.vocab[_merged_text(merge)] for merge in model.merges]
    if any(later < earlier for earlier, later in itertools.pairwise(merged)):
        raise UnsupportedTokenizerError("ids are not in merge order")
    reachable = set(merged)
    others = [text for text, token in plain.items() if len(text) > 1 and token not in reachable]
    if model.ignore_merges and any(_has_two_parts(text, plain) for text in others):
        raise UnsupportedTokenizerError("a token is whole words only, though two others spell it")
    unreachable = set() if model.ignore_merges else set(others)
    ranks = {_to_bytes(text): token for text, token in plain.items() if text not in unreachable}
    if any(bytes([value]) not in ranks for value in range(256)):
        raise UnsupportedTokenizerError("the vocabulary lacks single bytes")
    return ranks


def _has_two_parts(text: str, plain: Mapping[str, int]) -> bool:
    """Whether tiktoken would merge two tokens into this one, although no merge does."""
    return any(text[:cut] in plain and text[cut:] in plain for cut in range(1, len(text)))


def _merged_text(merge: str | tuple[str, str]) -> str:
    return merge.replace(" ", "", 1) if isinstance(merge, str) else merge[0] + merge[1]


def _to_bytes(text: str) -> bytes:
    try:
        return text.translate(_BYTE_OF_CHARACTER).encode("latin-1")
    except UnicodeEncodeError:
        raise UnsupportedTokenizerError(f"token {text!r} is not byte-level") from None


def _byte_alphabet() -> dict[int, int]:
    """The byte of each of GPT-2's printable characters; other characters map past latin-1."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [value for value in range(256) if value not in printable]
    shifted = {0x100 + index: value for index, value in enumerate(others)}
    return {**dict.fromkeys(others, 0xFFFF), **shifted, **{v: v for v in printable}}


_BYTE_OF_CHARACTER = _byte_alphabet()
