"""The values that sampling options may have in any dialect."""

from typing import Annotated

from msgspec import Meta

from gateway.dialects.bodies.limits import (
    MAX_BIAS,
    MAX_NAME,
    MAX_STOP_CHARACTERS,
    MAX_TOP_K,
    MOST,
)

AtLeastOne = Annotated[int, Meta(ge=1)]
NotNegative = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Penalty = Annotated[float, Meta(ge=-2.0, le=2.0)]
Probability = Annotated[float, Meta(ge=0.0, le=1.0)]
Bias = Annotated[float, Meta(ge=-MAX_BIAS, le=MAX_BIAS)]
Temperature = Annotated[float, Meta(ge=0.0, le=MOST)]
TopP = Annotated[float, Meta(gt=0.0, le=1.0)]
TopK = Annotated[int, Meta(ge=-1, le=MAX_TOP_K)]
TopLogprobs = Annotated[int, Meta(ge=0, le=20)]
Name = Annotated[str, Meta(max_length=MAX_NAME)]
Stop = Annotated[str, Meta(max_length=MAX_STOP_CHARACTERS)]
