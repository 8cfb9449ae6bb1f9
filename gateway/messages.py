"""The messages of a request: checked and hashed when they are first met, read again only where somebody looks.

A chat client sends its whole conversation again with every turn. Of a message that was met before only the hash is needed;
the message itself is read from its JSON if it lies in what the template is shown.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import overload

import msgspec

from gateway.conversation import print_of
from gateway.request import ChatMessage

MAX_REMEMBERED = 131_072  # messages, about 250 bytes each

Read = Callable[[msgspec.Raw, str], ChatMessage]


class Messages(Sequence[ChatMessage]):
    """So many messages, each made when it is looked at."""

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
    """Recognises messages by their bytes. `read` gives a message from its JSON, or refuses it."""

    def __init__(self, read: Read, *, capacity: int = MAX_REMEMBERED) -> None:
        self._read = read
        self._capacity = capacity
        self._prints: dict[bytes, bytes] = {}

    def messages(self, raws: Sequence[msgspec.Raw]) -> Messages:
        return Messages(len(raws), lambda place: self._read(raws[place], f"messages[{place}]"))

    def prints(self, raws: Sequence[msgspec.Raw], messages: Messages) -> list[bytes]:
        """The hash of each message. Reads, and so checks, those that are new."""
        return [self._print(raw, place, messages) for place, raw in enumerate(raws)]

    def _print(self, raw: msgspec.Raw, place: int, messages: Messages) -> bytes:
        digest = sha256(raw).digest()
        found = self._prints.get(digest)
        if found is None:
            found = self._prints[digest] = print_of(messages[place])
            if len(self._prints) > self._capacity:
                del self._prints[next(iter(self._prints))]
        return found
