"""A long body's digest is made from those of its messages, and tells bodies apart as a digest of all bytes does."""

import json

import msgspec

from gateway.dialects.chat.messages import read_chat_message
from gateway.request.body_digest import SHORT, body_digest
from gateway.request.messages import MessageReader


class Body(msgspec.Struct):
    messages: list[msgspec.Raw]


LONG = "x" * SHORT
CHAT = [{"role": "user", "content": LONG}, {"role": "assistant", "content": "Hi"}]


def digest(body: bytes) -> str:
    items = msgspec.json.decode(body, type=Body).messages
    return body_digest(body, items, MessageReader(read_chat_message).read(items).digest)


def encoded(*messages: object, **more: object) -> bytes:
    return json.dumps({"model": "policy", "messages": messages, **more}).encode()


def test_every_byte_outside_and_inside_of_the_messages_counts() -> None:
    """Bodies that differ in a field before or after their messages, in a message, or in their order, have other digests."""
    bodies = [
        encoded(*CHAT),
        encoded(*CHAT, seed=1),
        encoded(*CHAT, seed=2),
        encoded(*CHAT[::-1]),
        encoded(*CHAT, CHAT[1]),
        encoded(CHAT[0], {"role": "assistant", "content": "Ho"}),
        encoded(*CHAT).replace(b"policy", b"Policy"),
        encoded(*CHAT).replace(b'"messages"', b'"messages": [], "messages"'),
        encoded(*CHAT).replace(b'{"model"', b' {"model"'),
    ]
    digests = [digest(body) for body in bodies]
    assert "" not in digests
    assert len(set(digests)) == len(bodies)
    assert digests == [digest(bytes(bytearray(body))) for body in bodies]


def test_of_items_that_are_not_parts_of_the_body_there_is_no_digest() -> None:
    """Copies of items do not say where in the body they were, so the whole body has to be hashed; so does a short one."""
    body = encoded(*CHAT)
    copies = [msgspec.Raw(json.dumps(message).encode()) for message in CHAT]
    assert body_digest(body, copies, b"digest") == ""
    assert body_digest(body, [], b"digest") == ""
    assert digest(encoded(CHAT[1])) == ""
