"""What an engine is asked for, and what it answers: SGLang's `/generate` in our words.

An answer arrives whole or in pieces; both are Chunks, and Chunks of one answer add up to the whole.
"""

from typing import Any

import msgspec

from rollout.episode.turn import VersionInterval


class GenerateRequest(msgspec.Struct, frozen=True):
    """One call. `input_ids` are ids, or their JSON array if the caller encoded and checked them already."""

    rid: str
    input_ids: list[int] | bytes
    sampling: dict[str, Any]
    top_logprobs: int = 0
    sampling_logprobs: bool = (
        False  # the truth under top-p, top-k or min-p, which `logprobs` leave out
    )
    images: tuple[str, ...] = ()  # one for each placeholder in `input_ids`, as data: URLs
    expanded_ids: list[int] | None = None  # what the engine has to make of `input_ids` and images


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
