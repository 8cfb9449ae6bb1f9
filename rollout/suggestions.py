"""The name that was probably meant."""

import difflib
from collections.abc import Iterable


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """The shortest choice that begins with this name, else the most similar one: ppo -> ppo_clip and not dppo_tv, GRPPO -> grpo."""
    spelled = {choice.lower(): choice for choice in choices}
    wanted = name.lower().replace("-", "_")
    beginning = sorted(
        (choice for choice in spelled if wanted and choice.startswith(wanted)), key=len
    )
    near = beginning or difflib.get_close_matches(wanted, spelled, n=1)
    return spelled[near[0]] if near else None
