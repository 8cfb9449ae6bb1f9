"""Kimi's tiktoken.model: a rank for each sequence of bytes, without a tokenizer.json.

The model ships Python code that splits text. Its pattern is repeated here, so none of that code runs.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from pathlib import Path

from rollout.tokenizer.model_directory import AddedToken, ModelDirectoryError
from rollout.tokenizer.vocabulary import Vocabulary

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
BEGINS, GOES_ON = (
    r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]",
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]",
)
KIMI_PATTERN = "|".join(
    (
        r"[\p{Han}]+",
        rf"[^\r\n\p{{L}}\p{{N}}]?{BEGINS}*{GOES_ON}+{CONTRACTIONS}",
        rf"[^\r\n\p{{L}}\p{{N}}]?{BEGINS}+{GOES_ON}*{CONTRACTIONS}",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)


def read_vocabulary(path: Path, added: Iterable[AddedToken]) -> Vocabulary:
    """One line per token: its bytes in base64, and its rank, which is its id."""
    try:
        lines = [line.split() for line in path.read_bytes().splitlines() if line]
        ranks = {base64.b64decode(data, validate=True): int(rank) for data, rank in lines}
    except (ValueError, binascii.Error) as error:
        raise ModelDirectoryError(f"{path} cannot be read: {error}") from error
    return Vocabulary(
        splits=(),
        pattern=KIMI_PATTERN,
        form=None,
        ranks=ranks,
        texts={rank: data for data, rank in ranks.items()},
        added=tuple(added),
    )
