"""What is remembered of messages is small, whatever they hold."""

import msgspec

from gateway.request.messages import Item, MessageReader, ReadMessages
from gateway.request.minted_ids import minted_id, new_turn_id


def test_only_ids_that_name_a_turn_are_remembered() -> None:
    """Foreign ids, long ones and what a dialect adds to its own are dropped; of many in one message the last 64 are kept."""
    turn = new_turn_id()
    own = minted_id("enc", turn, 0)
    read = read_with(["call_abc", "x" * 100_000, f"{own}.{'y' * 100_000}", "0" * 24 + "z"])
    assert read.returned_ids == (own,)

    many = [minted_id("call", new_turn_id(), 0) for _ in range(200)]
    assert read_with(many).returned_ids == tuple(many[-64:])


def test_an_item_of_many_messages_is_read_anew() -> None:
    """One item that makes thousands of messages is not remembered, so that no entry is large; others are parsed once."""
    parsed = []

    def read(raw: msgspec.Raw, _: str) -> Item:
        parsed.append(bytes(raw))
        return Item([{"role": "tool", "content": "x"}] * int(bytes(raw)))

    reader = MessageReader(read)
    for _ in "ab":
        found = reader.read([msgspec.Raw(b"2"), msgspec.Raw(b"5000")])
        assert len(found.messages) == len(found.prints) == 5002
    assert parsed == [b"2", b"5000", b"5000"]


def test_items_that_are_used_stay_remembered() -> None:
    """Of many items those that come again and again are parsed once, and no more than twice the capacity is kept."""
    parsed = []

    def read(raw: msgspec.Raw, _: str) -> Item:
        parsed.append(bytes(raw))
        return Item([{"role": "user", "content": bytes(raw).decode()}])

    reader = MessageReader(read, capacity=8)
    for number in range(100):
        reader.read([msgspec.Raw(b'"system"'), msgspec.Raw(b"%d" % number)])
    assert parsed.count(b'"system"') == 1
    parsed.clear()
    for number in reversed(range(100)):
        reader.read([msgspec.Raw(b"%d" % number)])
    assert 84 <= len(parsed) <= 93


def read_with(ids: list[str]) -> ReadMessages:
    message = {"role": "assistant", "content": "x"}
    return MessageReader(lambda raw, where: Item([message], ids)).read([msgspec.Raw(b"{}")])
