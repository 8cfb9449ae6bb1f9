"""Sampling options as an engine is asked for them, and as the turn records them."""

from gateway.request.request import Request, SamplingOptions
from rollout.engine.generation import SamplingParameters
from rollout.engine.grammar import Grammar
from rollout.episode.turn import OutputFlags, Sampling


def engine_parameters(
    options: SamplingOptions, *, max_tokens: int, max_top_k: int | None, grammar: Grammar | None
) -> SamplingParameters:
    """What the engine is asked for; an absent option is the engine's own default, but the temperature is 1."""
    return SamplingParameters(
        max_tokens=max_tokens,
        temperature=_or(options.temperature, 1.0),
        top_p=options.top_p,
        top_k=_top_k(options, max_top_k),
        min_p=options.min_p,
        frequency_penalty=options.frequency_penalty,
        presence_penalty=options.presence_penalty,
        repetition_penalty=options.repetition_penalty,
        logit_bias=options.logit_bias,
        min_tokens=options.min_tokens or None,
        stop=options.stop,
        stop_token_ids=options.stop_token_ids,
        ignore_eos=options.ignore_eos,
        seed=options.seed,
        grammar=grammar,
    )


def is_truncated(options: SamplingOptions) -> bool:
    """Whether a token's probability is relative to the tokens that truncation left."""
    return (
        options.top_p not in (None, 1.0)
        or options.top_k not in (None, -1)
        or options.min_p not in (None, 0.0)
    )


def _top_k(options: SamplingOptions, limit: int | None) -> int | None:
    """At most the engine's limit where truncation makes sampling logprobs necessary."""
    asked = options.top_k
    if limit is None or not is_truncated(options):
        return asked
    return limit if asked is None or asked <= 0 else min(asked, limit)


def sampling_record(parameters: SamplingParameters) -> Sampling:
    """The parameters of a turn, defaults filled in."""
    default = Sampling()
    return Sampling(
        temperature=_or(parameters.temperature, default.temperature),
        top_p=_or(parameters.top_p, default.top_p),
        top_k=default.top_k if parameters.top_k is None else parameters.top_k,
        min_p=_or(parameters.min_p, default.min_p),
        max_tokens=parameters.max_tokens,
        seed=parameters.seed,
        frequency_penalty=_or(parameters.frequency_penalty, default.frequency_penalty),
        presence_penalty=_or(parameters.presence_penalty, default.presence_penalty),
        repetition_penalty=_or(parameters.repetition_penalty, default.repetition_penalty),
        stop=parameters.stop,
    )


def request_flags(request: Request, grammar: Grammar | None, *, num_forced: int) -> OutputFlags:
    """What is known about every token before it is sampled."""
    flags = OutputFlags.NONE
    if grammar is not None:
        flags |= OutputFlags.CONSTRAINED
    if request.tool_choice.is_forced or num_forced:
        flags |= OutputFlags.FORCED
    options = request.sampling
    has_penalty = options.frequency_penalty or options.presence_penalty
    if has_penalty or options.logit_bias or options.repetition_penalty not in (None, 1.0):
        flags |= OutputFlags.PENALIZED
    if is_truncated(options):
        flags |= OutputFlags.NARROWED
    if options.temperature == 0:
        flags |= OutputFlags.GREEDY
    return flags


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
