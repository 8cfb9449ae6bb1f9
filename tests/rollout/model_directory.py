"""A model directory of any family: its chat template, and a byte-level BPE made on the spot with its special tokens."""

import base64
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

from tests.rollout.pre_tokenizers import PRE_TOKENIZERS

# GPT-2's printable characters, in the order of the bytes that they stand for.
BYTE_OF = {
    character: byte
    for byte, character in zip(
        [*range(33, 127), *range(161, 173), *range(174, 256), *range(33), *range(127, 161), 173],
        [*map(chr, [*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324)])],
        strict=True,
    )
}
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
    tokenizer.pre_tokenizer = pre_tokenizer or PRE_TOKENIZERS["qwen"]
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


def sentencepiece_like() -> Tokenizer:
    built = Tokenizer(models.BPE(unk_token="<unk>"))
    built.pre_tokenizer = pre_tokenizers.Metaspace()
    built.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<unk>", "</s>"], show_progress=False
    )
    built.train_from_iterator(
        ["some words and some more words, said again and again é"] * 5, trainer
    )
    return built


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


def write_kimi_directory(directory: Path) -> Path:
    """Ranks in tiktoken.model, special tokens by id in the configuration, and no tokenizer.json."""
    bpe = byte_level_bpe(vocab_size=600)
    write_model_directory(directory, bpe)
    (directory / "tokenizer.json").unlink()
    vocab = json.loads(bpe.to_str())["model"]["vocab"]
    special = {"[BOS]": 600, "<|im_end|>": 601, "<|im_middle|>": 602}
    tokens = sorted(id_ for text, id_ in vocab.items() if not text.startswith("<|"))
    words = [bytes(map(BYTE_OF.__getitem__, bpe.id_to_token(id_))) for id_ in tokens]
    lines = [f"{base64.b64encode(word).decode()} {rank}" for rank, word in enumerate(words)]
    (directory / "tiktoken.model").write_text("\n".join(lines))
    added = {str(id_): {"content": text, "special": True} for text, id_ in special.items()}
    config = {"eos_token": "<|im_end|>", "added_tokens_decoder": added}
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    facts = {"vocab_size": 640, "max_position_embeddings": 2048, "eos_token_id": 601}
    (directory / "config.json").write_text(json.dumps(facts))
    return directory


def special_tokens_in(chat_template: str) -> list[str]:
    """The special tokens a template writes, with the roles that it inserts into them."""
    found = sorted(set(SPECIAL.findall(chat_template)))
    return [*dict.fromkeys(["<|endoftext|>", "<|im_start|>", "<|im_end|>", *found])]


def _corpus() -> Iterable[str]:
    root = Path(__file__).parents[2]
    for path in sorted((root / "rollout").glob("*.py")):
        yield path.read_text(encoding="utf-8")
