"""One trial of a grammar: compile it, and sample some tokens under it at random.

A small grammar can compile at once and still take seconds per token, such as the regular expression `(([a-z]+)*)+x`, or
take longer with each token, such as the rule `root ::= root root | "a"`.
"""

import random
import re
import time
from collections.abc import Callable
from itertools import pairwise

import xgrammar

from rollout.engine.sglang.server.grammars.limits import TOO_SLOW, Limits

SEED = 0  # the same grammar gets the same verdict
GROWTH = 4.0  # second half of a walk to the first; 7 if the time per token grows as its square
LEAST_HALF = 8  # tokens; a shorter half counts as one of this length, so that noise is no growth


class GrammarUnusable(Exception):
    """The grammar must not reach the engine; the message says why."""


def verdict(tokenizer: xgrammar.TokenizerInfo, kind: str, text: str, limits: Limits) -> str:
    """Why the grammar is refused; empty if it is not. The caller limits the time and the memory of all of it."""
    try:
        _try_out(tokenizer, kind, text, limits)
    except GrammarUnusable as error:
        return str(error)
    except MemoryError:
        return limits.too_much
    return ""


def _try_out(tokenizer: xgrammar.TokenizerInfo, kind: str, text: str, limits: Limits) -> None:
    compiler = xgrammar.GrammarCompiler(tokenizer, max_threads=1, cache_enabled=False)
    try:
        compiled = _compile(compiler)[kind](text)
    except (RuntimeError, ValueError, TypeError) as error:
        if "bad_alloc" in str(error):
            raise GrammarUnusable(limits.too_much) from error
        raise GrammarUnusable(f"it is not valid: {_plain(str(error))}") from error
    chooser = random.Random(SEED)  # noqa: S311 - no secret
    for _ in range(limits.num_walks):
        _check_times(_walk(compiled, tokenizer, chooser, limits), limits)


def _plain(message: str) -> str:
    """Without the place in the compiler's source that xgrammar names first."""
    return re.sub(r"^\[[\d:]+\] \S+:\d+: ", "", message).strip()[:500]


def _compile(compiler: xgrammar.GrammarCompiler) -> dict[str, Callable[[str], object]]:
    return {
        "json_schema": compiler.compile_json_schema,
        "regex": compiler.compile_regex,
        "ebnf": compiler.compile_grammar,
        "structural_tag": compiler.compile_structural_tag,
    }


def _walk(
    compiled: object, tokenizer: xgrammar.TokenizerInfo, chooser: random.Random, limits: Limits
) -> list[float]:
    """Sample under the grammar; the seconds of computing that each token took."""
    matcher = xgrammar.GrammarMatcher(compiled)
    mask = xgrammar.allocate_token_bitmask(1, tokenizer.vocab_size)
    times = [time.thread_time()]
    while len(times) <= limits.walk_tokens and times[-1] - times[0] < limits.walk_seconds:
        matcher.fill_next_token_bitmask(mask)
        token = _any_token(mask[0].tolist(), tokenizer, chooser)
        if token is None or not matcher.accept_token(token):
            break
        times.append(time.thread_time())
    return [after - before for before, after in pairwise(times)]


def _check_times(seconds: list[float], limits: Limits) -> None:
    half = len(seconds) // 2
    early, late = sum(seconds[:half]), sum(seconds[half:])
    least = max(half, LEAST_HALF) * limits.growing_token_seconds
    grows = half > 1 and late > GROWTH * early and late > least
    if max(seconds, default=0) > limits.token_seconds or grows:
        raise GrammarUnusable(TOO_SLOW)


def _any_token(
    words: list[int], tokenizer: xgrammar.TokenizerInfo, chooser: random.Random
) -> int | None:
    """One of the tokens whose bit is set in these words of 32 bits, and that does not end the output."""
    start = chooser.randrange(len(words))
    for place in (*range(start, len(words)), *range(start)):
        bits = words[place] & 0xFFFFFFFF
        tokens = [place * 32 + bit for bit in range(32) if bits >> bit & 1] if bits else []
        tokens = [
            token
            for token in tokens
            if token < tokenizer.vocab_size and token not in tokenizer.stop_token_ids
        ]
        if tokens:
            return int(chooser.choice(tokens))
    return None
