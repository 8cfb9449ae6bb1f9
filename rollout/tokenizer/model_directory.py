"""A Hugging Face model directory: the facts about tokens, which it spreads over five JSON files."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T")


class ModelDirectoryError(ValueError):
    """A model directory lacks a file or a fact, or holds one that cannot be read."""


class AddedToken(msgspec.Struct, frozen=True):
    """A token that is matched in the text before anything else is done to it."""

    id: int
    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False
    special: bool = False


class AddedTokens(msgspec.Struct, frozen=True):
    """The part of tokenizer.json that every kind of tokenizer has."""

    added_tokens: tuple[AddedToken, ...] = ()


class ModelConfig(msgspec.Struct, frozen=True):
    """config.json, or its text part in a vision model; generation_config.json has the same eos_token_id."""

    vocab_size: int | None = None
    max_position_embeddings: int | None = None
    eos_token_id: int | list[int] | None = None
    text_config: ModelConfig | None = None
    image_token_id: int | None = None
    vision_start_token_id: int | None = None
    vision_end_token_id: int | None = None

    @property
    def text(self) -> ModelConfig:
        return self.text_config or self

    @property
    def eos_ids(self) -> set[int]:
        mine = self.eos_token_id if isinstance(self.eos_token_id, list) else [self.eos_token_id]
        theirs = self.text_config.eos_ids if self.text_config else set()
        return {token for token in mine if token is not None} | theirs


class NamedToken(msgspec.Struct, frozen=True):
    content: str


class DecodedToken(msgspec.Struct, frozen=True):
    content: str
    special: bool = False


class NamedTemplate(msgspec.Struct, frozen=True):
    name: str
    template: str


class TokenizerConfig(msgspec.Struct, frozen=True):
    """tokenizer_config.json: the tokens that have a role, and in older models the chat template."""

    bos_token: str | NamedToken | None = None
    eos_token: str | NamedToken | None = None
    unk_token: str | NamedToken | None = None
    pad_token: str | NamedToken | None = None
    chat_template: str | list[NamedTemplate] | None = None
    added_tokens_decoder: dict[int, DecodedToken] = {}

    @property
    def added_tokens(self) -> tuple[AddedToken, ...]:
        """By id, for a directory without tokenizer.json."""
        decoder = self.added_tokens_decoder.items()
        return tuple(AddedToken(id_, t.content, special=t.special) for id_, t in decoder)

    @property
    def special_tokens(self) -> dict[str, str]:
        tokens = {}
        for role in ("bos_token", "eos_token", "unk_token", "pad_token"):
            token = getattr(self, role)
            if token is not None:
                tokens[role] = token if isinstance(token, str) else token.content
        return tokens


class ModelDirectory:
    """One model directory; a file is read when a fact from it is asked for."""

    def __init__(self, model_dir: str | Path) -> None:
        self.directory = Path(model_dir)

    def tokenizer_path(self) -> Path:
        return self._existing("tokenizer.json")

    def tiktoken_path(self) -> Path | None:
        """Kimi's vocabulary, if there is no tokenizer.json."""
        path = self.directory / "tiktoken.model"
        return path if path.exists() and not (self.directory / "tokenizer.json").exists() else None

    def added_tokens(self) -> tuple[AddedToken, ...]:
        if self.tiktoken_path() is not None:
            return self.tokenizer_config().added_tokens
        return read_json(self.tokenizer_path(), AddedTokens).added_tokens

    def config(self) -> ModelConfig:
        return read_json(self._existing("config.json"), ModelConfig)

    def tokenizer_config(self) -> TokenizerConfig:
        path = self.directory / "tokenizer_config.json"
        return read_json(path, TokenizerConfig) if path.exists() else TokenizerConfig()

    def generation_eos_ids(self) -> set[int]:
        path = self.directory / "generation_config.json"
        return read_json(path, ModelConfig).eos_ids if path.exists() else set()

    def chat_template(self) -> str:
        """The model's own template; of several named ones the default."""
        path = self.directory / "chat_template.jinja"
        if path.exists():
            return path.read_text(encoding="utf-8")
        template = self.tokenizer_config().chat_template
        if isinstance(template, str):
            return template
        named = {entry.name: entry.template for entry in template or ()}
        if "default" not in named:
            raise ModelDirectoryError(
                f"{self.directory} has no chat template; add chat_template.jinja to it"
            )
        return named["default"]

    def _existing(self, name: str) -> Path:
        path = self.directory / name
        if not path.is_file():
            raise ModelDirectoryError(
                f"{self.directory} has no {name}; a Hugging Face model directory is needed"
            )
        return path


def read_json(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except msgspec.DecodeError as error:
        raise ModelDirectoryError(f"{path} cannot be read: {error}") from error
