"""A turn in bytes; an episode is an append-only log of turns.

A turn stores only its new tokens: where its context starts (the anchor), the context it adds, and its outputs. Token
ids and logprobs are little-endian int32 and float32 bytes on the wire and NumPy views in memory. Lengths that disagree
are an error at construction, so such a turn cannot be stored.
"""

import struct
from collections.abc import Iterable, Sequence
from enum import IntFlag
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from rollout.episode.attempt import JOINED
from rollout.errors import RolloutError

TOKEN = np.dtype("<i4")
LOGPROB = np.dtype("<f4")
TOKEN_BYTES = TOKEN.itemsize  # NumPy makes the number anew each time
Ids = NDArray[np.int32]


class MalformedTurn(RolloutError, ValueError):
    """Token ids, logprobs and versions of a turn contradict each other."""


class OutputFlags(IntFlag):
    """What a reader must know about an output before training on it."""

    NONE = 0
    TRUNCATED = 1  # cut by length, no end-of-turn token was sampled
    ABANDONED = 2  # the client left; kept for audit, never trained
    INJECTED_EOS = (
        4  # only of context, in views: it begins with the end token that a cut output lacks
    )
    CONSTRAINED = 8  # sampled under a grammar
    FORCED = 16  # a forced tool choice or an assistant prefill preceded it
    PENALIZED = 32  # penalties or logit bias moved the distribution
    MALFORMED = 64  # a tool call in it did not parse
    NARROWED = 128  # top-p, top-k or min-p left only some tokens possible
    GREEDY = 256  # the likeliest token was taken; its logprob is what sampling would have given it


# Not sampled from the policy's own distribution; the setting TURNGATE_FLAGGED_TOKENS decides about them. Tokens after a
# prefill are the policy's own, and a forced tool choice has the flag of the grammar that enforces it.
FLAGGED = (
    OutputFlags.CONSTRAINED | OutputFlags.PENALIZED | OutputFlags.NARROWED | OutputFlags.GREEDY
)


_ABANDONED = int(OutputFlags.ABANDONED)  # an operation of an IntFlag takes 25 times as long


class VersionInterval(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Output tokens [start, end) were sampled by this policy version."""

    version: int
    start: int
    end: int


class Anchor(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A place in the trie: `offset` tokens into an output of a turn, or into its context when output is -1."""

    turn_id: str
    output: int
    offset: int


class Media(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An image, by the SHA-256 of its bytes, and the tokens that stand for it: all the same placeholder."""

    digest: str
    start: int
    length: int

    @property
    def end(self) -> int:
        return self.start + self.length

    def moved(self, by: int) -> "Media":
        """The same image in a longer or shorter stream of tokens."""
        return Media(self.digest, self.start + by, self.length)


class Sampling(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The parameters a turn was sampled with."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = -1
    min_p: float = 0.0
    max_tokens: int = 0
    seed: int | None = None
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()  # where the shown text ends, not the ids


class Output(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The tokens one call sampled, the logprob of each and the policy versions that sampled them."""

    tokens: bytes
    logprobs: bytes
    versions: tuple[VersionInterval, ...]
    finish_reason: str
    flags: int = 0

    def __post_init__(self) -> None:
        if len(self.tokens) % TOKEN_BYTES or len(self.tokens) != len(self.logprobs):
            raise MalformedTurn(
                f"{len(self.tokens)} bytes of tokens, {len(self.logprobs)} of logprobs"
            )
        covered = 0
        for interval in self.versions:
            if interval.start != covered or interval.end <= covered:
                raise MalformedTurn(f"versions {self.versions} leave a gap at token {covered}")
            covered = interval.end
        if covered != self.num_tokens:
            raise MalformedTurn(f"versions cover {covered} of {self.num_tokens} tokens")

    @classmethod
    def sampled(
        cls,
        ids: Sequence[int],
        logprobs: Sequence[float],
        *,
        versions: Iterable[VersionInterval],
        finish_reason: str,
        flags: int = 0,
    ) -> "Output":
        """Pack what an engine reported; `struct` packs a list in a third of NumPy's time."""
        try:
            tokens = struct.pack(f"<{len(ids)}i", *ids)
            packed = struct.pack(f"<{len(logprobs)}f", *logprobs)
        except (struct.error, OverflowError) as error:
            raise MalformedTurn(f"a sampled id or logprob has no 4 bytes: {error}") from error
        return cls(
            tokens,
            packed,
            tuple(versions),
            finish_reason,
            flags,
        )

    @property
    def num_tokens(self) -> int:
        return len(self.tokens) // TOKEN_BYTES

    @property
    def ids(self) -> Ids:
        return np.frombuffer(self.tokens, TOKEN)

    @property
    def behavior_logprobs(self) -> NDArray[np.float32]:
        return np.frombuffer(self.logprobs, LOGPROB)

    @property
    def is_abandoned(self) -> bool:
        return self.flags & _ABANDONED != 0


class Turn(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One model call. Chains are hashes of the conversation after the prompt and after each output."""

    id: str
    kind: Literal["train", "side"]
    created_ms: int
    anchor: Anchor | None  # None: the context starts at the root
    context: bytes
    outputs: tuple[Output, ...]
    forced: int = 0  # how many tokens at the end of the context are a prefill
    prompt_chain: str = ""
    output_chains: tuple[str, ...] = ()
    sampling: Sampling = Sampling()
    template: str = ""
    tools: str = ""
    retry_key: str = ""
    body_digest: str = ""
    media: tuple[Media, ...] = ()  # in the context, in order
    found_by: str = ""  # what named the episode, or how the gateway found it
    thread: str = ""  # the runtime's own name for a part of the episode, a sub-agent for example
    client: str = ""  # the runtime that made the call
    notes: tuple[str, ...] = ()  # what the gateway left out of the body or brought to another form

    keeps_messages: bool = False  # its messages are kept for calls that name its reply

    def __post_init__(self) -> None:
        if len(self.context) % TOKEN_BYTES:
            raise MalformedTurn(f"{len(self.context)} bytes of context are not whole tokens")
        if self.media:
            bounds = [0, *(bound for image in self.media for bound in (image.start, image.end))]
            if sorted(bounds) != bounds or bounds[-1] > len(self.context) // TOKEN_BYTES:
                raise MalformedTurn(f"{self.media} do not lie side by side in the context")
        if self.output_chains and len(self.output_chains) != len(self.outputs):
            raise MalformedTurn(f"{len(self.output_chains)} chains, {len(self.outputs)} outputs")

    @property
    def context_ids(self) -> Ids:
        return np.frombuffer(self.context, TOKEN)

    @property
    def may_be_unmarked_repeat(self) -> bool:
        """Whether its call carried neither a key nor a count of tries, so that an equal one may be the same call again."""
        return not self.retry_key or self.retry_key.startswith(JOINED)

    @property
    def num_output_tokens(self) -> int:
        return sum(output.num_tokens for output in self.outputs)

    @property
    def trainable_outputs(self) -> list[Output]:
        """Outputs whose tokens may receive a gradient."""
        if self.kind != "train":
            return []
        return [output for output in self.outputs if output.num_tokens and not output.is_abandoned]

    @property
    def versions(self) -> tuple[int, ...]:
        """Policy versions that sampled the outputs that are not abandoned, ascending."""
        kept = [output for output in self.outputs if not output.is_abandoned]
        found = {interval.version for output in kept for interval in output.versions}
        return tuple(sorted(found))


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Turn)


def encode_turn(turn: Turn) -> bytes:
    """The turn as the store keeps it: about 4 bytes per context token and 8 per sampled one."""
    return _encoder.encode(turn)


def decode_turn(data: bytes) -> Turn:
    """Read a stored turn. Raises MalformedTurn for data that contradicts itself."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedTurn(f"not a turn record: {error}") from error


def pack_tokens(ids: Sequence[int]) -> bytes:
    """Token ids as they travel."""
    return np.asarray(ids, TOKEN).tobytes()
