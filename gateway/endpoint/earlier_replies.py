"""Completes a request that names earlier replies instead of sending them: their conversation, or single items of theirs.

It costs a round trip to Redis, and only of such calls. A caller reaches the episodes of its own API key.
"""

from collections.abc import Sequence
from functools import partial

import msgspec
from anyio import to_thread

from gateway.access.caller import Caller
from gateway.errors import BadRequest
from gateway.request.conversation_hash import print_of
from gateway.request.kept_reply import KeptReply, decode_kept
from gateway.request.minted_ids import turn_of
from gateway.request.request import ChatMessage, Image, Request
from gateway.turn.large_calls import LARGE_BYTES, LargeCalls
from rollout.store.redis_decoding import UNREADABLE
from rollout.store.store import Store


async def with_earlier_replies(
    request: Request, caller: Caller, store: Store, turns: LargeCalls, *, num_bytes: int
) -> tuple[Request, int]:
    """The request with all its messages, and the bytes of it all; many are read on a thread, when it is the key's turn.

    `num_bytes` are those of the body. Raises BadRequest for a reply that is not known.
    """
    previous = request.previous_reply
    last_turn = turn_of(previous) if previous is not None else ""
    if last_turn is None:
        raise _unknown(str(previous))
    conversation, single = await store.conversation(
        caller.key_id,
        last_turn,
        turns=request.refers_to,
        only_episode=caller.episode_id or "",
    )
    if conversation is None:
        raise _unknown(str(previous))
    num_bytes += sum(len(data) for data in (*conversation, *single) if data is not None)
    complete = partial(_completed, request, conversation, single)
    if num_bytes < LARGE_BYTES:
        return complete(), num_bytes
    async with turns.turn(caller.key_id):
        return await to_thread.run_sync(complete), num_bytes


def _completed(
    request: Request, conversation: Sequence[bytes], single: Sequence[bytes | None]
) -> Request:
    kept = [_readable(data) for data in conversation]
    earlier = [each for each in kept if each is not None]
    if len(earlier) < len(kept):
        raise _unknown(str(request.previous_reply))
    if request.complete is not None:
        named = zip(request.refers_to, map(_readable, single), strict=True)
        request = request.complete({turn: reply.choice for turn, reply in named if reply})
    return _after(request, earlier)


def _readable(data: bytes | None) -> KeptReply | None:
    """What is kept; None if it is missing, or damaged, which no repeated call would mend."""
    if data is None:
        return None
    try:
        return decode_kept(data)
    except UNREADABLE:
        return None


def _after(request: Request, conversation: Sequence[KeptReply]) -> Request:
    """The conversation goes between the instructions and the new messages."""
    if not conversation:
        return request
    earlier = [message for kept in conversation for message in kept.conversation]
    start = request.num_instructions
    return msgspec.structs.replace(
        request,
        messages=[*request.messages[:start], *earlier, *request.messages[start:]],
        prints=[*request.prints[:start], *map(print_of, earlier), *request.prints[start:]],
        images=(*_images(earlier), *request.images),
    )


def _images(messages: Sequence[ChatMessage]) -> list[Image]:
    contents = [message.get("content") for message in messages]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    return [part["image"] for part in parts if "image" in part]


def _unknown(reply_id: str) -> BadRequest:
    return BadRequest(
        f"no reply {reply_id[:64]!r} is kept for this API key: it was made with store false, its episode is gone, or has "
        "no room for more messages; send the whole conversation instead",
        param="previous_response_id",
        code="previous_response_not_found",
    )
