"""What Redis keeps of a reply for calls that are repeated: all but the token ids, which the episode's log holds already.

Keeping the whole prompt's ids with every turn would make an episode's size grow with the square of its length.
"""

from collections.abc import Iterator

import msgspec

from gateway.parsing.deltas import (
    ContentDelta,
    Delta,
    ReasoningDelta,
    ToolArgumentsDelta,
    ToolCallStart,
)
from gateway.request.request import Reply, ReplyChoice
from gateway.turn.output_builder import Piece
from rollout.episode.trie import Trie
from rollout.episode.turn import Anchor

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Reply)


def encode_reply(reply: Reply) -> bytes:
    if reply.prompt_token_ids is None:  # then the choices have no ids either
        return _encoder.encode(reply)
    choices = tuple(msgspec.structs.replace(choice, token_ids=None) for choice in reply.choices)
    return _encoder.encode(msgspec.structs.replace(reply, choices=choices, prompt_token_ids=None))


def decode_reply(data: bytes, trie: Trie, *, with_ids: bool) -> Reply:
    """The reply as it was; `trie` holds its turn."""
    reply = _decoder.decode(data)
    if not with_ids:
        return reply
    turn = trie.turn(reply.turn_id)
    choices = tuple(
        msgspec.structs.replace(choice, token_ids=turn.outputs[choice.index].ids.tolist())
        for choice in reply.choices
    )
    prompt = trie.tokens(Anchor(turn.id, -1, len(turn.context_ids))).tolist()
    return msgspec.structs.replace(reply, choices=choices, prompt_token_ids=prompt)


def recorded_pieces(reply: Reply) -> Iterator[Piece]:
    """The pieces of a stream that gives this reply, one for each choice."""
    yield from map(whole_piece, reply.choices)


def whole_piece(choice: ReplyChoice) -> Piece:
    """A choice as the one piece of a stream."""
    return Piece(choice.index, list(_deltas(choice)), choice.logprobs, choice.token_ids)


def _deltas(choice: ReplyChoice) -> Iterator[Delta]:
    if choice.reasoning:
        yield ReasoningDelta(choice.reasoning)
    content, shown = choice.content or "", 0
    for index, call in enumerate(choice.tool_calls):
        if call.position > shown:
            yield ContentDelta(content[shown : call.position])
            shown = call.position
        yield ToolCallStart(index, call.id, call.name)
        yield ToolArgumentsDelta(index, call.arguments)
    if content[shown:]:
        yield ContentDelta(content[shown:])
