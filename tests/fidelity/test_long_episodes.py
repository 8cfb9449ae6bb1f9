"""What a long episode costs: each distinct token is kept once, in few bytes, and trains in one row."""

from pathlib import Path
from typing import Any

import pytest

from tests.bench.episodes.episode import SHAPES, Figure, measure
from tests.bench.gateway_model import TEMPLATE
from tests.rollout.model_directory import byte_level_bpe, write_model_directory


async def played(directory: Path, redis_url: str, place: int, **options: Any) -> Figure:
    config = {"max_position_embeddings": 2**17}
    model_dir = write_model_directory(
        directory / "model", byte_level_bpe(), chat_template=TEMPLATE, config=config
    )
    return await measure(SHAPES[place], model_dir, redis_url, **options)


@pytest.mark.parametrize(
    "options",
    [{}, {"logprobs": True, "top_logprobs": 5, "extra_body": {"return_token_ids": True}}],
    ids=["plain", "detailed"],
)
async def test_forty_turns_are_kept_in_twelve_bytes_a_token(
    tmp_path: Path, redis_url: str, options: dict[str, Any]
) -> None:
    """Of all keys that Redis has for it, replies kept for retries included; and they train in 22 times fewer tokens."""
    figure = await played(tmp_path, redis_url, 0, **options)
    assert figure.stored_ratio <= 1.02
    assert figure.bytes_per_token <= 12
    assert figure.merge_ratio >= 22


async def test_a_hundred_turns_train_in_fifty_times_fewer_tokens(
    tmp_path: Path, redis_url: str
) -> None:
    """One row per turn would train each token of the history again with every turn."""
    figure = await played(tmp_path, redis_url, 1)
    assert figure.merge_ratio >= 50
