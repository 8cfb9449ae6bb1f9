"""The messages of a request: parsed, checked and hashed at their first call, in later calls parsed only if they are used.

A client sends its whole conversation again with every call. A message that was in an earlier call is known by its hash;
it is parsed again only if it is in the part that the template renders.
"""

from collections.abc import Callable, ItemsView, Iterator, Mapping, Sequence
from hashlib import sha256
from threading import Lock
from typing import NamedTuple, overload

import msgspec

from gateway.request.conversation_hash import print_of
from gateway.request.minted_ids import own_part, turn_of
from gateway.request.request import ChatMessage, Image
from rollout.chat_template.openai_messages import KnowsRoles

MAX_REMEMBERED = 131_072  # items, about 320 bytes each; up to twice as many are kept
MOST_IDS = 64  # of one item
MOST_MESSAGES = 64  # of one item; one that makes more is read anew each time


class Item(NamedTuple):
    """What one item of a body's list becomes: usually one message."""

    messages: Sequence[ChatMessage]
    returned_ids: Sequence[str] = ()  # that a reply may have minted, beside those of tool calls
    notes: Sequence[str] = ()  # what was left out of it or brought to another form


Read = Callable[[msgspec.Raw, str], Item]


class _Known(NamedTuple):
    """What is remembered of an item: little, whatever a client puts into it."""

    messages: Sequence[tuple[str, bytes, bool]]  # role, print, whether it holds an image
    returned_ids: Sequence[str]  # those that name a turn
    notes: Sequence[str]


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

    # Mapping's own make an object for each and ask for every key.
    def get(self, name: str, default: object = None) -> object:
        return self._role if name == "role" else self._whole.get(name, default)

    def items(self) -> ItemsView[str, object]:
        return self._whole.items()

    @property
    def _whole(self) -> ChatMessage:
        if self._made is None:
            self._made = self._make()
        return self._made


class Messages(KnowsRoles, Sequence[ChatMessage]):
    """A list of messages, each made when it is first indexed. Their roles are known before, if they are given."""

    def __init__(
        self,
        num_messages: int,
        make: Callable[[int], ChatMessage],
        roles: list[str] | None = None,
    ) -> None:
        self._num_messages = num_messages
        self._make = make
        self._roles = roles
        self._made: dict[int, ChatMessage] = {}

    def __len__(self) -> int:
        return self._num_messages

    def roles(self) -> list[str]:
        """Of all messages; where they are known no message is made."""
        if self._roles is None:
            self._roles = [str(message["role"]) for message in self]
        return self._roles

    @overload
    def __getitem__(self, place: int) -> ChatMessage: ...
    @overload
    def __getitem__(self, place: slice) -> "Messages": ...
    def __getitem__(self, place: int | slice) -> "ChatMessage | Messages":
        if isinstance(place, slice):
            return self._part(place)
        made = self._made.get(place)
        if made is None:
            index = range(self._num_messages)[place]
            made = self._made[place] = self._made[index] = self._make(index)
        return made

    def _part(self, places: slice) -> "Messages":
        found = range(self._num_messages)[places]
        roles = None if self._roles is None else self._roles[places]
        return Messages(len(found), lambda index: self[found[index]], roles)


class ReadMessages(NamedTuple):
    """The messages of a body, the hash of each, and what their items hold beside them."""

    messages: Messages
    prints: list[bytes]
    returned_ids: tuple[str, ...]
    notes: tuple[str, ...]
    images: tuple[Image, ...]  # of all messages, in order
    digest: bytes  # of the items


def _where(place: int) -> str:
    return f"messages[{place}]"


class MessageReader:
    """Recognizes items by their bytes. `read` parses and checks one item.

    The latest `capacity` items are remembered, and up to as many before them. These are dropped all at once: a dictionary
    that loses its oldest entry for each new one takes 30 times as long.
    """

    def __init__(self, read: Read, *, capacity: int = MAX_REMEMBERED) -> None:
        self._read = read
        self._capacity = capacity
        self._known: dict[bytes, _Known] = {}
        self._before: dict[bytes, _Known] = {}
        self._changing = Lock()  # large bodies are read on a thread

    def read(
        self, raws: Sequence[msgspec.Raw], where: Callable[[int], str] = _where
    ) -> ReadMessages:
        """The messages of these items. New ones are parsed, and so checked, at once; `where` names an item in errors."""
        digests = [sha256(raw).digest() for raw in raws]
        parsed: dict[int, Item] = {}  # now, so that none is parsed twice
        known: list[_Known] = []
        remembered = self._known.get
        for place, digest in enumerate(digests):
            found = remembered(digest)
            if found is None:
                found = self._found_before(digest)
            if found is None:
                item = parsed[place] = self._read(raws[place], where(place))
                found = self._learned(digest, item)
            known.append(found)
        sources = [
            (place, part, message)
            for place, item in enumerate(known)
            for part, message in enumerate(item.messages)
        ]

        def unread(index: int) -> ChatMessage:
            place, part, message = sources[index]
            if place in parsed:
                return parsed[place].messages[part]
            return Unread(message[0], lambda: self._read(raws[place], where(place)).messages[part])

        messages = Messages(len(sources), unread, [message[0] for _, _, message in sources])
        seeing = [index for index, (_, _, message) in enumerate(sources) if message[2]]
        return ReadMessages(
            messages,
            [message[1] for _, _, message in sources],
            tuple(id_ for item in known for id_ in item.returned_ids),
            tuple(dict.fromkeys(note for item in known for note in item.notes)),
            tuple(image for index in seeing for image in _images(messages[index]["content"])),
            sha256(b"".join(digests)).digest(),
        )

    def _found_before(self, digest: bytes) -> _Known | None:
        found = self._before.get(digest)
        if found is not None:
            self._remember(digest, found)
        return found

    def _learned(self, digest: bytes, item: Item) -> _Known:
        messages = tuple(
            (str(each["role"]), print_of(each), any(_images(each.get("content"))))
            for each in item.messages
        )
        found = _Known(messages, _returned_ids(item), tuple(dict.fromkeys(item.notes)))
        if len(messages) <= MOST_MESSAGES:
            self._remember(digest, found)
        return found

    def _remember(self, digest: bytes, item: _Known) -> None:
        with self._changing:
            if len(self._known) >= self._capacity:
                self._before, self._known = self._known, {}
            self._known[digest] = item


def _images(content: object) -> list[Image]:
    parts = content if isinstance(content, list) else ()
    return [part["image"] for part in parts if part["type"] == "image"]


def _returned_ids(item: Item) -> tuple[str, ...]:
    """Those that a reply of ours may have minted."""
    call_ids = [id_ for each in item.messages for id_ in _call_ids(each)]
    every = (*item.returned_ids, *call_ids)
    return tuple(own_part(id_) for id_ in every if turn_of(id_) is not None)[-MOST_IDS:]


def _call_ids(message: ChatMessage) -> Iterator[str]:
    """The ids of the calls that a message makes or answers."""
    calls = message.get("tool_calls")
    named = [call["id"] for call in calls] if isinstance(calls, list) else []
    for id_ in (*named, message.get("tool_call_id")):
        if id_ and isinstance(id_, str):
            yield id_
