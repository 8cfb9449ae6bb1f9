"""Sampling options as SGLang's `/generate` takes them, and as the turn records them."""

from gateway.request.request import Request, SamplingOptions
from rollout.episode.turn import OutputFlags, Sampling

# Options that travel under their own name and value.
_SAME_NAME = (
    "top_p",
    "top_k",
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "logit_bias",
)
# SGLang's `--sampling-mask-max-tokens` is 4,096 and counts ties; what lies beyond the first 1,024 tokens is not worth more.
MAX_TOP_K = 1024


def engine_parameters(
    options: SamplingOptions, *, max_tokens: int, grammar: dict[str, str]
) -> dict[str, object]:
    """What the engine is asked for; an absent option is the engine's own default."""
    parameters: dict[str, object] = {"max_new_tokens": max_tokens, "temperature": 1.0}
    for name in _SAME_NAME:
        value = getattr(options, name)
        if value is not None:
            parameters[name] = value
    if is_truncated(options):
        parameters["top_k"] = effective_top_k(options)
    if options.temperature is not None:
        parameters["temperature"] = options.temperature
    if options.min_tokens:
        parameters["min_new_tokens"] = options.min_tokens
    if options.stop:
        parameters["stop"] = list(options.stop)
    if options.stop_token_ids:
        parameters["stop_token_ids"] = list(options.stop_token_ids)
    if options.ignore_eos:
        parameters["ignore_eos"] = True
    if options.seed is not None:
        parameters["sampling_seed"] = options.seed
    return parameters | grammar


def is_truncated(options: SamplingOptions) -> bool:
    """Whether a token's probability is relative to the tokens that truncation left."""
    return (
        options.top_p not in (None, 1.0)
        or options.top_k not in (None, -1)
        or options.min_p not in (None, 0.0)
    )


def effective_top_k(options: SamplingOptions) -> int:
    """What is asked of the engine: it tells truncated probabilities only for a bounded number of tokens."""
    asked = -1 if options.top_k is None else options.top_k
    if not is_truncated(options):
        return asked
    return min(asked, MAX_TOP_K) if asked > 0 else MAX_TOP_K


def sampling_record(options: SamplingOptions, max_tokens: int) -> Sampling:
    """The parameters of a turn, defaults filled in."""
    default = Sampling()
    return Sampling(
        temperature=_or(options.temperature, default.temperature),
        top_p=_or(options.top_p, default.top_p),
        top_k=effective_top_k(options),
        min_p=_or(options.min_p, default.min_p),
        max_tokens=max_tokens,
        seed=options.seed,
        frequency_penalty=_or(options.frequency_penalty, default.frequency_penalty),
        presence_penalty=_or(options.presence_penalty, default.presence_penalty),
        repetition_penalty=_or(options.repetition_penalty, default.repetition_penalty),
        stop=options.stop,
    )


def request_flags(request: Request, grammar: dict[str, str], *, num_forced: int) -> OutputFlags:
    """What is known about every token before it is sampled."""
    flags = OutputFlags.NONE
    if grammar:
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
