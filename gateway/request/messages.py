"""The messages of a request: parsed, checked and hashed at their first call, in later calls parsed only if they are used.

A client sends its whole conversation again with every call. A message that was in an earlier call is known by its hash;
it is parsed again only if it is in the part that the template renders.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import sha256
from threading import Lock
from typing import overload

import msgspec

from gateway.request.conversation_hash import print_of
from gateway.request.request import ChatMessage

MAX_REMEMBERED = 131_072  # messages, about 250 bytes each

Read = Callable[[msgspec.Raw, str], ChatMessage]


class Unread(Mapping[str, object]):
    """A message with a known role, which is often enough; the rest is parsed at its first use."""

    __slots__ = ("_made", "_make", "_role")

    def __init__(self, role: str, make: Callable[[], ChatMessage]) -> None:
        self._role = role
        self._make = make
        self._made: ChatMessage | None = None

    def __getitem__(self, name: str) -> object:
        return self._role if name == "role" else self._whole[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._whole)

    def __len__(self) -> int:
        return len(self._whole)

    @property
    def _whole(self) -> ChatMessage:
        if self._made is None:
            self._made = self._make()
        return self._made


class Messages(Sequence[ChatMessage]):
    """A list of messages, each made when it is first indexed."""

    def __init__(self, num_messages: int, make: Callable[[int], ChatMessage]) -> None:
        self._num_messages = num_messages
        self._make = make
        self._made: dict[int, ChatMessage] = {}

    def __len__(self) -> int:
        return self._num_messages

    @overload
    def __getitem__(self, place: int) -> ChatMessage: ...
    @overload
    def __getitem__(self, place: slice) -> "Messages": ...
    def __getitem__(self, place: int | slice) -> "ChatMessage | Messages":
        found = range(self._num_messages)[place]
        if isinstance(found, range):
            return Messages(len(found), lambda index: self[found[index]])
        if found not in self._made:
            self._made[found] = self._make(found)
        return self._made[found]


class MessageReader:
    """Recognizes messages by their bytes. `read` parses and checks one message."""

    def __init__(self, read: Read, *, capacity: int = MAX_REMEMBERED) -> None:
        self._read = read
        self._capacity = capacity
        self._known: dict[bytes, tuple[str, bytes]] = {}  # role and print
        self._changing = Lock()  # large bodies are read on a thread

    def read(self, raws: Sequence[msgspec.Raw]) -> tuple[Messages, list[bytes]]:
        """The messages, and the hash of each. New ones are parsed, and so checked, at once."""
        known = [self._recognize(raw, place) for place, raw in enumerate(raws)]

        def unread(place: int) -> ChatMessage:
            return Unread(known[place][0], partial(self._read, raws[place], _where(place)))

        return Messages(len(raws), unread), [print_ for _, print_ in known]

    def _recognize(self, raw: msgspec.Raw, place: int) -> tuple[str, bytes]:
        digest = sha256(raw).digest()
        found = self._known.get(digest)
        if found is None:
            message = self._read(raw, _where(place))
            found = str(message["role"]), print_of(message)
            with self._changing:
                self._known[digest] = found
                if len(self._known) > self._capacity:
                    del self._known[next(iter(self._known))]
        return found


def _where(place: int) -> str:
    return f"messages[{place}]"
