"""Where a call joins the trie of its episode, and its prompt. `attacher.py` makes it."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from gateway.attach.breaks import Break
from gateway.attach.prompt import Prompt
from gateway.request.conversation_hash import Chain
from rollout.episode.turn import Anchor, Ids, Media

How = Literal["bridged", "branched", "root"]


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """The prompt of a call: stored tokens up to `anchor`, then `context`."""

    anchor: Anchor | None
    context: Ids
    prompt: Prompt
    tail: str  # the end of the prompt as text
    media: Sequence[Media]  # the images in the context
    template: str  # digest of the chat template
    tools: str  # digest of the tools the prompt shows
    chain: Chain  # of the request's messages, without a prefill
    prefill: str
    forced: int  # tokens at the end of the context that the caller wrote as the model's (a prefill)
    how: How
    continues: tuple[
        str, int
    ]  # the turn whose reply ends the known messages, or "", and their number
    break_class: Break | None  # why a call on an episode with turns is not bridged
    notes: tuple[str, ...] = ()  # what the template cannot show as it was sent
