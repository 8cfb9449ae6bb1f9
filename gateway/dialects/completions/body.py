"""The body of a text completion: the fields that have an effect, each with the values it may have."""

from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.dialects.bodies.bounds import TopLogprobs
from gateway.dialects.bodies.sampling import SamplingBody


class CompletionsBody(SamplingBody, kw_only=True):
    prompt: msgspec.Raw
    echo: bool | None = None
    suffix: str | None = None
    logprobs: TopLogprobs | None = None
    best_of: Annotated[int, Meta(ge=1)] | None = None
