"""What was said in a conversation, as digests at each answer of the model: later calls that begin with the same find it.

Each is made twice, with the instructions and without, because some runtimes write the time of day into theirs.
"""

from collections.abc import Sequence
from typing import NamedTuple

from gateway.request.conversation_hash import Chain, print_of
from gateway.request.request import ChatMessage

NEWEST, OLDEST = 40, 8  # answers of a long conversation after which a call may go on in another way


class Said(NamedTuple):
    with_instructions: str
    without: str


def said_before(messages: Sequence[ChatMessage], prints: Sequence[bytes]) -> list[Said]:
    """What a call has in common with a record that it continues, the longest first."""
    whole, spoken, lengths = Chain("", prints), *_spoken(messages, prints)
    places = [end for end, each in enumerate(messages, 1) if each["role"] == "assistant"][::-1]
    if len(places) > NEWEST + OLDEST:
        places = [*places[:NEWEST], *places[-OLDEST:]]
    after, after_spoken = whole.cached_after(), spoken.cached_after()
    return [Said(after(end), after_spoken(lengths[end])) for end in places]


def said_after(
    messages: Sequence[ChatMessage], prints: Sequence[bytes], answer: ChatMessage
) -> Said:
    """What is recorded with an answer."""
    spoken, _ = _spoken(messages, prints)
    last = print_of(answer)
    return Said(Chain("", [*prints, last]).end, Chain("", [*spoken.prints, last]).end)


def _spoken(messages: Sequence[ChatMessage], prints: Sequence[bytes]) -> tuple[Chain, list[int]]:
    """The conversation without instructions, and its length after each message."""
    kept: list[bytes] = []
    lengths = [0]
    for message, print_ in zip(messages, prints, strict=True):
        if message["role"] != "system":
            kept.append(print_)
        lengths.append(len(kept))
    return Chain("", kept), lengths
