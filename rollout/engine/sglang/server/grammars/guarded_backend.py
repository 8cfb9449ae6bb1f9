"""SGLang's grammar backend with two limits: the memory of its cache, and the time that one call's mask may take.

A trial samples at random and may miss the text under which a grammar becomes slow. Here a thread computes the masks of a
batch; a call whose mask is late ends, and its grammar is refused from then on.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from sglang.srt.constrained.base_grammar_backend import (
    BaseGrammarObject,
    GrammarRow,
    InvalidGrammarObject,
)
from sglang.srt.constrained.xgrammar_backend import (
    MAX_ROLLBACK_TOKENS,
    GrammarStats,
    XGrammarGrammar,
    XGrammarGrammarBackend,
)
from xgrammar import (
    CompiledGrammar,
    GrammarCompiler,
    GrammarMatcher,
    allocate_token_bitmask,
    reset_token_bitmask,
)

from rollout.engine.sglang.server.grammars.limits import TOO_SLOW
from rollout.engine.sglang.server.grammars.mask_filling import MaskFilling

CACHE_BYTES = 256 * 2**20
CACHED = 1024

log = logging.getLogger("rollout.engine_server")

Key = tuple[str, str]


class GuardedBackend(XGrammarGrammarBackend):  # type: ignore[misc]
    """For one scheduler alone: several that serve one model together must not decide by the clock."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)
        self.grammar_compiler = GrammarCompiler(self._tokenizer_info, cache_enabled=False)
        self.thread = ThreadPoolExecutor(max_workers=1)

    def set_cache(self, key: Key, value: BaseGrammarObject) -> None:
        self.cache[key] = value
        while len(self.cache) > CACHED or self._cached_bytes() > CACHE_BYTES:
            del self.cache[next(iter(self.cache))]

    def _cached_bytes(self) -> int:
        grammars = (value for value in self.cache.values() if isinstance(value, XGrammarGrammar))
        return sum(grammar.ctx.memory_size_bytes for grammar in grammars)

    def _from_context(
        self, ctx: CompiledGrammar, key_string: str, grammar_stats: GrammarStats
    ) -> "GuardedGrammar":
        return GuardedGrammar(self, ctx, key=(grammar_stats.dispatch_type, key_string))

    def refuse(self, key: Key) -> None:
        log.warning("a grammar took too long for one token (%s)", key[0])
        self.set_cache(key, InvalidGrammarObject(TOO_SLOW))
        # The late thread ends with its mask, which nothing can stop.
        self.thread.shutdown(wait=False)
        self.thread = ThreadPoolExecutor(max_workers=1)


class GuardedGrammar(XGrammarGrammar):  # type: ignore[misc]
    def __init__(self, backend: GuardedBackend, ctx: CompiledGrammar, *, key: Key) -> None:
        stops = backend.override_stop_tokens
        matcher = GrammarMatcher(
            ctx, max_rollback_tokens=MAX_ROLLBACK_TOKENS, override_stop_tokens=stops
        )
        stats = GrammarStats(dispatch_type=key[0])
        super().__init__(matcher, backend.vocab_size, ctx, stops, key[1], stats)
        self.backend = backend
        self.is_late = False
        self._key = key
        # A late thread writes here, and not into the mask of a batch that came after.
        self.row = allocate_token_bitmask(1, backend.vocab_size)

    def copy(self) -> "GuardedGrammar":
        return GuardedGrammar(self.backend, self.ctx, key=self._key)

    def fill_vocab_mask(self, vocab_mask: torch.Tensor, idx: int) -> None:
        self.fill_vocab_mask_batched([GrammarRow(idx, self)], vocab_mask)

    @staticmethod
    def fill_vocab_mask_batched(entries: Sequence[GrammarRow], vocab_mask: torch.Tensor) -> None:
        remaining = [entry.grammar for entry in entries if not entry.grammar.is_late]
        while remaining:
            late = MaskFilling(remaining, remaining[0].backend.thread).late()
            if late is None:
                break
            remaining[late].end()
            remaining = remaining[late + 1 :]
        for entry in entries:
            if not entry.grammar.is_late:
                vocab_mask[entry.row] = entry.grammar.row[0]

    def fill_row(self) -> None:
        reset_token_bitmask(self.row)
        self.matcher.fill_next_token_bitmask(self.row)

    def end(self) -> None:
        """Its call ends with the next token, which no mask covers."""
        self.is_late = True
        self.backend.refuse(self._key)

    def accept_token(self, token: int) -> None:
        """SGLang ends a call whose grammar raises this error. Taking in one token is far cheaper than a mask."""
        if self.is_late:
            raise ValueError(TOO_SLOW)
        super().accept_token(token)

    def is_terminated(self) -> bool:
        return not self.is_late and bool(super().is_terminated())
