"""What a caller asked of the sampler, completed for an engine, and as the turn records it."""

from msgspec.structs import replace

from gateway.request.request import Request
from rollout.engine.generation import SamplingParameters
from rollout.engine.grammar import Grammar
from rollout.episode.turn import OutputFlags, Sampling


def engine_parameters(
    asked: SamplingParameters, *, max_tokens: int, max_top_k: int | None, grammar: Grammar | None
) -> SamplingParameters:
    """What the engine is asked for: the temperature is 1 unless the caller chose another."""
    return replace(
        asked,
        max_tokens=max_tokens,
        temperature=1.0 if asked.temperature is None else asked.temperature,
        top_k=_top_k(asked, max_top_k),
        grammar=grammar,
    )


def _top_k(asked: SamplingParameters, limit: int | None) -> int | None:
    """At most the engine's limit where truncation makes sampling logprobs necessary."""
    if limit is None or not asked.is_truncated:
        return asked.top_k
    return limit if asked.top_k is None or asked.top_k <= 0 else min(asked.top_k, limit)


def sampling_record(parameters: SamplingParameters) -> Sampling:
    """The parameters of a turn, defaults filled in."""
    values = {name: getattr(parameters, name) for name in Sampling.__struct_fields__}
    return Sampling(**{name: value for name, value in values.items() if value is not None})


def request_flags(request: Request, grammar: Grammar | None, *, num_forced: int) -> OutputFlags:
    """What is known about every token before it is sampled."""
    flags = OutputFlags.NONE
    if grammar is not None:
        flags |= OutputFlags.CONSTRAINED
    if request.tool_choice.is_forced or num_forced:
        flags |= OutputFlags.FORCED
    asked = request.sampling
    has_penalty = asked.frequency_penalty or asked.presence_penalty
    if has_penalty or asked.logit_bias or asked.repetition_penalty not in (None, 1.0):
        flags |= OutputFlags.PENALIZED
    if asked.is_truncated:
        flags |= OutputFlags.NARROWED
    if asked.temperature == 0:
        flags |= OutputFlags.GREEDY
    return flags
