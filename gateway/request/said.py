"""What was said in a conversation, as digests at each answer of the model: later calls that begin with the same find it.

Each is made twice, with the instructions and without, because some runtimes write the time of day into theirs.
"""

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import NamedTuple

from gateway.request.request import ChatMessage
from rollout.chat_template.openai_messages import roles_of

NEWEST, OLDEST = 40, 8  # answers of a long conversation after which a call may go on in another way


class Said(NamedTuple):
    with_instructions: str
    without: str


def said_before(messages: Sequence[ChatMessage], prints: Sequence[bytes]) -> list[Said]:
    """What a call has in common with a record that it continues, the longest first."""
    roles = roles_of(messages)
    ends = [end for end, role in enumerate(roles, 1) if role == "assistant"]
    if len(ends) > OLDEST + NEWEST:
        ends = [*ends[:OLDEST], *ends[-NEWEST:]]
    return _said(roles, prints, ends)[::-1]


def said_after(messages: Sequence[ChatMessage], prints: Sequence[bytes], answer: bytes) -> Said:
    """What is recorded with an answer, of which the hash is given."""
    roles, prints = [*roles_of(messages), "assistant"], [*prints, answer]
    (said,) = _said(roles, prints, [len(prints)])
    return said


def _said(roles: Sequence[str], prints: Sequence[bytes], ends: Iterable[int]) -> list[Said]:
    """At these places, which rise."""
    whole, spoken = _Digest(), _Digest()
    found, done = [], 0
    for end in ends:
        added = prints[done:end]
        whole.add(added)
        spoken.add(p for p, role in zip(added, roles[done:end], strict=True) if role != "system")
        found.append(Said(whole.text(), spoken.text()))
        done = end
    return found


class _Digest:
    """Of messages that are added part by part."""

    def __init__(self) -> None:
        self._digest = blake2b(digest_size=12)

    def add(self, prints: Iterable[bytes]) -> None:
        self._digest.update(b"".join(prints))

    def text(self) -> str:
        return self._digest.copy().hexdigest()
