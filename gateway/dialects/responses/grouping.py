"""Which input items are one message: a reply comes back as several items, and a template shows it as one message.

    reasoning, message, function_call, function_call, function_call_output, ...  ->  [0 1 2 3], [4], ...

Items that name the turn of an earlier group join that group, because some clients put each result after its call.
"""

from collections.abc import Iterator, Sequence

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


class _Group:
    def __init__(self, place: int, head: _Head) -> None:
        self.places = [place]
        self.is_of_the_model = head.is_of_the_model
        self.is_result = head.is_result
        self.turn = head.turn

    def add(self, place: int, head: _Head) -> None:
        self.places.append(place)
        self.turn = self.turn or head.turn


def grouped(items: Sequence[msgspec.Raw]) -> list[list[int]]:
    """The places of the items of each message."""
    groups: list[_Group] = []
    for place, raw in enumerate(items):
        head = _head(raw)
        group = _joined(groups, head) if head.is_of_the_model else None
        if group is not None:
            group.add(place, head)
        else:
            groups.append(_Group(place, head))
    return [group.places for group in groups]


def _head(raw: msgspec.Raw) -> _Head:
    try:
        return _decoder.decode(raw)
    except msgspec.MsgspecError:
        return _Head()  # whoever reads the item says what is wrong


def _joined(groups: Sequence[_Group], head: _Head) -> _Group | None:
    """The group that the item belongs to, None if it begins a new one."""
    for group in _last_of_the_model(groups):
        turns = {group.turn, head.turn}
        is_adjacent = group is groups[-1]
        if turns == {head.turn} and head.turn is not None:
            return group
        if is_adjacent and None in turns:
            return group
    return None


def _last_of_the_model(groups: Sequence[_Group]) -> Iterator[_Group]:
    """The last group of the model, if nothing but results comes after it."""
    for group in reversed(groups):
        if group.is_of_the_model:
            yield group
            return
        if not group.is_result:
            return
