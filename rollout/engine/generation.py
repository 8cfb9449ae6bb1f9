"""What an engine is asked for, and what it answers.

An answer arrives whole or in pieces; both are Chunks, and Chunks of one answer add up to the whole.
"""

import msgspec

from rollout.engine.grammar import Grammar
from rollout.episode.turn import VersionInterval


class SamplingParameters(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How to sample; None is the engine's own default."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None
    logit_bias: dict[str, float] | None = None  # token id -> what is added to its logit
    min_tokens: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    seed: int | None = None
    grammar: Grammar | None = None

    @property
    def is_truncated(self) -> bool:
        """Whether a token's probability is relative to the tokens that truncation left."""
        return (
            self.top_p not in (None, 1.0)
            or self.top_k not in (None, -1)
            or self.min_p not in (None, 0.0)
        )


class GenerateRequest(msgspec.Struct, frozen=True):
    """One call. `prompt_ids` are ids, or their JSON array if the caller encoded and checked them already."""

    call_id: str
    prompt_ids: list[int] | bytes
    sampling: SamplingParameters
    top_logprobs: int = 0
    sampling_logprobs: bool = False  # also those after top-p, top-k and min-p, which change them
    images: tuple[str, ...] = ()  # one for each placeholder in `prompt_ids`, as data: URLs
    expanded_ids: list[int] | None = None  # the prompt that `prompt_ids` and images must become
    cache_salt: str = ""  # only calls with the same one share a prefix cache


class Finish(msgspec.Struct, frozen=True):
    """Why the engine stopped: `stop` with the token or string that matched, or `length`."""

    type: str
    matched: int | str | None = None


TopLogprob = tuple[float, int]


class Chunk(msgspec.Struct, frozen=True):
    """New tokens, a logprob for each; the last chunk has `finish` and the versions of all tokens."""

    ids: list[int]
    logprobs: list[float]
    top_logprobs: list[list[TopLogprob]] | None = None
    sampling_logprobs: list[float] | None = None
    finish: Finish | None = None
    versions: tuple[VersionInterval, ...] = ()
    prompt_tokens: int = 0
    cached_tokens: int = 0


class Deadlines(msgspec.Struct, frozen=True, kw_only=True):
    """How long an engine may take, in seconds. Queueing and a swap's pause count as waiting for a token."""

    connect: float = 5.0
    first_token: float = 120.0
    next_token: float = 60.0
    whole_reply: float = 1800.0
    abort: float = 5.0
