"""Random ids, of the kind that breaks a grammar, an escape or a key: the same seed gives the same ids."""

import random
from collections.abc import Sequence

ALLOWED = "abcXYZ019._:-"
DELIMITERS = ":|#/.%*?{}[]\\'\"`,;=&+@~ <>()!$^\x1f\x00\n\r\t\x7f"
LETTERS = "éßñ\xa0\xad\xffłЖ中🙂\u202e\u2028\ufeff\ud7ff"
FRAGMENTS = (
    *("ep:", "ep.", "grp:", "turns", ".rewards", ":reward_log", "turngate:{", "}:", "totals"),
    *("..", "../", "%2e%2e", "%00", "%2F", "%", "//", "null", "-1", "1e9", "ep_", "grp_", "turn_"),
    *("chatcmpl-", "key:", "body:", "tg-ep-", "policy@", "*", "|reward", "#0", "DROP", "${x}"),
)


def random_ids(seed: int, count: int, *, near: Sequence[str]) -> list[str]:
    """Ids that differ; about half follow our grammar, many are a word more than one of `near`."""
    chance = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        found.setdefault(_random_id(chance, near))
    return list(found)


def _random_id(chance: random.Random, near: Sequence[str]) -> str:
    kind = chance.random()
    if kind < 0.5:
        length = chance.choice((1, 2, 8, 20, 127, 128))
        return chance.choice("abX9") + "".join(chance.choices(ALLOWED, k=length - 1))
    if kind < 0.7:
        return "".join(
            chance.choice(
                (chance.choice(near), chance.choice(FRAGMENTS), chance.choice(DELIMITERS))
            )
            for _ in range(chance.randrange(2, 5))
        )
    length = chance.choice((1, 2, 5, 30, 129, 300))
    return "".join(chance.choices(ALLOWED + DELIMITERS + LETTERS, k=length))
