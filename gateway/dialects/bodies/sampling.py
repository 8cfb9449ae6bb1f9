"""The fields of OpenAI's older bodies, chat and completions, that say how to sample, stream and record."""

from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.dialects.bodies.bounds import (
    AtLeastOne,
    Bias,
    NotNegative,
    Penalty,
    Probability,
    Seed,
    Stop,
    Temperature,
    TopK,
    TopP,
)
from gateway.dialects.bodies.fields import JsonObject, no_field
from gateway.dialects.bodies.limits import (
    MAX_BIASED_TOKENS,
    MAX_MODEL,
    MAX_STOP_IDS,
    MAX_STOPS,
    MOST,
)
from gateway.request.model_name import ALIAS
from gateway.turn.grammar import given_grammar
from rollout.engine.generation import SamplingParameters


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class SamplingBody(msgspec.Struct, kw_only=True):
    model: Annotated[str, Meta(max_length=MAX_MODEL)] = ALIAS
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    seed: Seed | None = None
    stop: Stop | Annotated[list[Stop], Meta(max_length=MAX_STOPS)] | None = None
    max_tokens: AtLeastOne | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_k: TopK | None = None
    min_p: Probability | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Meta(gt=0.0, le=MOST)] | None = None
    logit_bias: Annotated[dict[str, Bias], Meta(max_length=MAX_BIASED_TOKENS)] | None = None
    min_tokens: NotNegative | None = None
    stop_token_ids: Annotated[list[int], Meta(max_length=MAX_STOP_IDS)] | None = None
    ignore_eos: bool | None = None
    regex: str | None = None
    ebnf: str | None = None
    return_token_ids: bool | None = None
    metadata: JsonObject = msgspec.field(default_factory=no_field)
    session_id: str | None = None

    @property
    def asks_for_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def asks_for_all_usage(self) -> bool:
        """Usage in every chunk of a stream."""
        options = self.stream_options
        return bool(options and options.include_usage and options.continuous_usage_stats)


def sampling_of(
    body: SamplingBody, *, max_tokens: int | None, schema: str | None
) -> SamplingParameters:
    """Raises BadRequest for grammars that exclude each other."""
    stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    return SamplingParameters(
        max_tokens=max_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=body.top_k,
        min_p=body.min_p,
        frequency_penalty=body.frequency_penalty,
        presence_penalty=body.presence_penalty,
        repetition_penalty=body.repetition_penalty,
        logit_bias=body.logit_bias or None,
        min_tokens=body.min_tokens or None,
        stop=tuple(text for text in stop if text),
        stop_token_ids=tuple(body.stop_token_ids or ()),
        ignore_eos=bool(body.ignore_eos),
        seed=body.seed,
        grammar=given_grammar(body.regex, body.ebnf, schema),
    )
