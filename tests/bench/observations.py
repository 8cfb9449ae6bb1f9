"""What an agent reads, by the token: pieces of Python's own library."""

import inspect
import json
import tokenize
from itertools import pairwise

from rollout.tokenizer.tokenizer import Tokenizer


def observations(
    tokenizer: Tokenizer, num_turns: int, prompt: int, observed: int, *, start: str = ""
) -> list[str]:
    """A first prompt of so many tokens, and what is observed after each turn."""
    ids = tokenizer.encode(start + inspect.getsource(json.decoder) + inspect.getsource(tokenize))
    cuts = [0, *range(prompt, prompt + num_turns * observed + 1, observed)]
    ids *= cuts[-1] // len(ids) + 1
    return [tokenizer.decode(ids[begin:end]) for begin, end in pairwise(cuts)]
