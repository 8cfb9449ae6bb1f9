"""What Redis keeps of a reply for calls that are repeated: all but the ids, which the episode's log holds already.

A prompt's ids with every turn would make an episode cost the square of its length.
"""

import msgspec

from gateway.request.request import Reply
from rollout.episode.trie import Trie
from rollout.episode.turn import Anchor

_decoder = msgspec.msgpack.Decoder(Reply)


def encode_reply(reply: Reply) -> bytes:
    choices = tuple(msgspec.structs.replace(choice, token_ids=None) for choice in reply.choices)
    return msgspec.msgpack.encode(
        msgspec.structs.replace(reply, choices=choices, prompt_token_ids=None)
    )


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
