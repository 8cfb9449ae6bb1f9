"""Which name a misspelt one is taken for."""

import pytest

from rollout.suggestions import nearest

LOSSES = ("score_function", "ppo_clip", "gspo", "gspo_token", "dppo_tv")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ppo", "ppo_clip"),
        ("PPO-clip", "ppo_clip"),
        ("gsp", "gspo"),
        ("GSPO", "gspo"),
        ("gspo_tokn", "gspo_token"),
        ("scorefunction", "score_function"),
        ("adam", None),
        ("", None),
    ],
)
def test_the_nearest_name_is_what_was_meant(name: str, meant: str | None) -> None:
    """Case and hyphens do not matter, a beginning counts more than letters in common, and a stranger is nobody."""
    assert nearest(name, LOSSES) == meant
