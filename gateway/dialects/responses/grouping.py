"""Which input items are one message: a reply comes back as several items, and a template shows it as one message.

    reasoning, message, function_call, function_call, function_call_output, ...  ->  [0 1 2 3], [4], ...

Items that name the turn of an earlier group join that group, because some clients put each result after its call.
"""

from collections.abc import Sequence

import msgspec

from gateway.request.minted_ids import turn_of

CALLS = ("function_call", "custom_tool_call", "local_shell_call", "shell_call", "apply_patch_call")
_OF_THE_MODEL = frozenset({*CALLS, "reasoning", "item_reference"})


class _Head(msgspec.Struct):
    type: str | None = None
    role: str | None = None
    id: str | None = None
    call_id: str | None = None

    @property
    def is_of_the_model(self) -> bool:
        is_message = self.type in ("message", None) and self.role == "assistant"
        return is_message or self.type in _OF_THE_MODEL or (self.type or "").endswith("_call")

    @property
    def is_result(self) -> bool:
        return (self.type or "").endswith("_output")

    @property
    def turn(self) -> str | None:
        return turn_of(self.id or "") or turn_of(self.call_id or "")


_decoder = msgspec.json.Decoder(_Head)


class _Group(msgspec.Struct):
    """The items of one message of the model."""

    places: list[int]
    turn: str | None

    def takes(self, turn: str | None, *, is_adjacent: bool) -> bool:
        """Whether an item that names this turn, or none, belongs to the group."""
        if turn is not None and turn == self.turn:
            return True
        return is_adjacent and (turn is None or self.turn is None)


def grouped(items: Sequence[msgspec.Raw]) -> list[list[int]]:
    """The places of the items of each message."""
    groups: list[list[int]] = []
    last: _Group | None = None  # of the model, if nothing but results comes after it
    for place, raw in enumerate(items):
        head = _head(raw)
        if not head.is_of_the_model:
            groups.append([place])
            last = last if head.is_result else None
            continue
        turn = head.turn
        if last is not None and last.takes(turn, is_adjacent=groups[-1] is last.places):
            last.places.append(place)
            last.turn = last.turn or turn
        else:
            last = _Group([place], turn)
            groups.append(last.places)
    return groups


def _head(raw: msgspec.Raw) -> _Head:
    try:
        return _decoder.decode(raw)
    except msgspec.MsgspecError:
        return _Head()  # whoever reads the item says what is wrong
