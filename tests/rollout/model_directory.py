"""A model directory of any family: its chat template, and a byte-level BPE made on the spot with its special tokens."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
VISIBLE = (
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
)
SPECIAL = re.compile(
    r"<\|[a-z_]+>|<[a-z_]+\|>|<[|｜][^<>\s'\"]+[|｜]>|</?s>|<(?:start|end)_of_turn>|\[/?[A-Za-z_]+\]"
    r"|\]~!?b[\]\[]|\[e~\["
)


def byte_level_bpe(
    special: Iterable[str] = ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    *,
    pre_tokenizer: Any = None,
    normalizer: Any = None,
    vocab_size: int = 1200,
) -> Tokenizer:
    """Trained on this repository's own source; special tokens come first, visible added tokens last."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizer or normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizer or qwen_pre_tokenizer()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in VISIBLE])
    return tokenizer


def qwen_pre_tokenizer() -> Any:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def write_model_directory(
    directory: Path,
    tokenizer: Tokenizer,
    *,
    chat_template: str | None = None,
    eos: str = "<|im_end|>",
    bos: str | None = None,
    config: dict[str, Any] | None = None,
) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    named = {"eos_token": eos, **({"bos_token": bos} if bos else {})}
    (directory / "tokenizer_config.json").write_text(json.dumps(named))
    facts = {
        "vocab_size": tokenizer.get_vocab_size() + 40,
        "max_position_embeddings": 2048,
        "eos_token_id": tokenizer.token_to_id(eos),
    }
    (directory / "config.json").write_text(json.dumps({**facts, **(config or {})}))
    if chat_template is not None:
        (directory / "chat_template.jinja").write_text(chat_template)
    return directory


def special_tokens_in(chat_template: str) -> list[str]:
    """The special tokens a template writes, with the roles that it inserts into them."""
    found = sorted(set(SPECIAL.findall(chat_template)))
    return [*dict.fromkeys(["<|endoftext|>", "<|im_start|>", "<|im_end|>", *found])]


def _corpus() -> Iterable[str]:
    root = Path(__file__).parents[2]
    for path in sorted((root / "rollout").glob("*.py")):
        yield path.read_text(encoding="utf-8")
