"""The name that was probably meant."""

import difflib
from collections.abc import Iterable


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """The shortest choice that begins so, else the one spelled most alike: ppo -> ppo_clip and not dppo_tv, GRPPO -> grpo."""
    spelled = {choice.lower(): choice for choice in choices}
    wanted = name.lower().replace("-", "_")
    begun = sorted((choice for choice in spelled if wanted and choice.startswith(wanted)), key=len)
    near = begun or difflib.get_close_matches(wanted, spelled, n=1)
    return spelled[near[0]] if near else None
