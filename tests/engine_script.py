"""The steps of which a scripted engine's answer is made."""

import asyncio
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Tokens:
    """Sample these, as one event."""

    ids: list[int]
    logprobs: list[float] | None = None


@dataclass(frozen=True)
class Wait:
    """Say nothing until the event is set; announce that the wait has begun."""

    event: asyncio.Event
    reached: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True)
class Version:
    """From here on another policy samples."""

    number: int


@dataclass(frozen=True)
class Stop:
    """End with a stop token (sampled with it) or a stop string that matched."""

    matched: int | str


@dataclass(frozen=True)
class Length:
    """End because the length is reached."""


@dataclass(frozen=True)
class End:
    """Say in a stream why the output ends, and go on with the script."""

    reason: str


@dataclass(frozen=True)
class Abort:
    """End as an engine ends a request that it gives up."""

    message: str = "Abort in waiting queue"


@dataclass(frozen=True)
class Die:
    """Break the connection."""


@dataclass(frozen=True)
class Garbage:
    """Answer something else."""

    data: bytes = b'{"nonsense": true}'


@dataclass(frozen=True)
class Refuse:
    """Answer with an error status."""

    status: int
    message: str


Step = Tokens | Wait | Version | Stop | Length | End | Abort | Die | Garbage | Refuse
