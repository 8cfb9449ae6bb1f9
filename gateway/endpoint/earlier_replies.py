"""Completes a request that names earlier replies instead of sending them: their conversation, or single items of theirs.

It costs a round trip to Redis, and only of such calls. A caller reaches the episodes of its own API key.
"""

from collections.abc import Sequence

import msgspec

from gateway.access.caller import Caller
from gateway.errors import BadRequest
from gateway.request.conversation_hash import print_of
from gateway.request.kept_reply import KeptReply, decode_kept
from gateway.request.minted_ids import turn_of
from gateway.request.request import ChatMessage, Image, Request
from rollout.store.store import Store


async def with_earlier_replies(request: Request, caller: Caller, store: Store) -> Request:
    """The request with all its messages. Raises BadRequest for a reply that is not known."""
    previous = request.previous_reply
    last_turn = turn_of(previous) if previous is not None else ""
    if last_turn is None:
        raise _unknown(str(previous))
    read = await store.conversation(
        caller.key_id,
        last_turn,
        turns=request.refers_to,
        only_episode=caller.episode_id or "",
    )
    conversation, single = read
    if conversation is None:
        raise _unknown(str(previous))
    if request.complete is not None:
        known = {
            turn: decode_kept(data).choice
            for turn, data in zip(request.refers_to, single, strict=True)
            if data is not None
        }
        request = request.complete(known)
    return _after(request, [decode_kept(data) for data in conversation])


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
