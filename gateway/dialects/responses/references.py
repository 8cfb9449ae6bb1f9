"""Items that a client names by their ids instead of sending them, as the AI SDK does unless `store` is false."""

from collections.abc import Mapping, Sequence

import msgspec
import orjson

from gateway.dialects.responses.asked import Asked
from gateway.dialects.responses.namespaces import KnownTools
from gateway.dialects.responses.output import Output
from gateway.errors import BadRequest
from gateway.request.minted_ids import turn_of
from gateway.request.request import ReplyChoice
from gateway.turn.recorded_reply import whole_piece

TYPE = "item_reference"
MARK = TYPE.encode()  # in every body that holds one
MAX_TURNS = 512  # that one call may name; some clients name each item of a long conversation


class _Reference(msgspec.Struct):
    type: str | None = None
    id: str = ""


_decoder = msgspec.json.Decoder(_Reference)


def referred_turns(items: Sequence[msgspec.Raw]) -> tuple[str, ...]:
    """The turns of whose replies items are named. Raises BadRequest for a name that is none of ours, and for too many."""
    turns: dict[str, None] = {}
    for place, id_ in references(items).items():
        turn = turn_of(id_)
        if turn is None:
            raise _unknown(id_, place)
        turns[turn] = None
    if len(turns) > MAX_TURNS:
        raise BadRequest(
            f"input names items of {len(turns)} replies, more than the {MAX_TURNS} that are allowed; send the items themselves",
            param="input",
            code="value_too_large",
        )
    return tuple(turns)


def references(items: Sequence[msgspec.Raw]) -> dict[int, str]:
    """The ids that are named, by the place of the item."""
    found = {}
    for place, raw in enumerate(items):
        if MARK in bytes(raw):
            try:
                item = _decoder.decode(raw)
            except msgspec.MsgspecError:  # whoever reads the item says what is wrong
                continue
            if item.type == TYPE:
                found[place] = item.id
    return found


def filled_in(
    items: Sequence[msgspec.Raw],
    replies: Mapping[str, ReplyChoice],
    *,
    tools: KnownTools,
) -> list[msgspec.Raw]:
    """The items themselves in place of their names. Raises BadRequest for one that is not known."""
    known: dict[object, dict[str, object]] = {}
    for turn_id, reply in replies.items():
        known |= {item["id"]: item for item in _items(turn_id, reply, tools)}
    filled = list(items)
    for place, id_ in references(items).items():
        if id_ not in known:
            raise _unknown(id_, place)
        filled[place] = msgspec.Raw(orjson.dumps(known[id_]))
    return filled


def _unknown(id_: str, place: int) -> BadRequest:
    return BadRequest(
        f"no item {id_[:64]!r} is kept for this API key; send the item itself, or with store false all of them",
        param=f"input[{place}].id",
        code="item_not_found",
    )


def _items(turn_id: str, reply: ReplyChoice, tools: KnownTools) -> list[dict[str, object]]:
    asked = Asked(
        shown={},
        tools=tools,
        summarizes=False,
        names_reasoning=False,
        shows_logprobs=False,
    )
    output = Output(turn_id, asked)
    list(output.add(whole_piece(reply)))
    list(output.end(is_cut=False))
    return output.items
