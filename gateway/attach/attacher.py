"""Finds where a call continues its episode, token by token.

Sampled text is never encoded again. A call that continues a recorded output reuses the stored ids and encodes only the
new text after them, which starts at a special token, so no merge crosses the boundary. Any other prompt is encoded whole
and branches off at the first id that differs from everything recorded.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from gateway.attach.attachment import Attachment, How
from gateway.attach.breaks import Break, break_of
from gateway.attach.conversation import Conversation
from gateway.attach.episode_history import EpisodeHistory
from gateway.attach.prompt import Prompt
from gateway.attach.prompt_encoder import PromptEncoder
from gateway.attach.raw_prompt import RawPrompts
from gateway.attach.recorded_text import RecordedText
from gateway.errors import BadRequest
from gateway.parsing.output_reader import OutputReader
from gateway.request.conversation_hash import Chain
from gateway.request.messages import Messages, Unread
from gateway.request.request import ChatMessage, Request
from gateway.request.tools import seed
from rollout.chat_template.chat_template import ChatTemplate
from rollout.chat_template.openai_messages import roles_of
from rollout.chat_template.turn_boundary import TurnBoundary
from rollout.episode.episode_records import HistoryPolicy
from rollout.episode.turn import TOKEN, Anchor, Ids, Media, OutputFlags
from rollout.tokenizer.tokenizer import Tokenizer
from rollout.tokenizer.vision import SizedImage, Vision, collapse

RAW_PROMPT = seed(b"raw prompt")
_UNREADABLE = int(OutputFlags.MALFORMED | OutputFlags.TRUNCATED)


class _JoinPoint(NamedTuple):
    """Where a prompt leaves the stored tokens, and the tokens it adds; the last `forced` of them are a prefill."""

    anchor: Anchor | None
    context: Ids
    how: How
    break_class: Break | None = None
    forced: int = 0
    media: Sequence[Media] = ()
    notes: tuple[str, ...] = ()


class _Bridge(NamedTuple):
    """The ids to add after a recorded output."""

    ids: list[int]
    notes: tuple[str, ...]


class Attacher:
    def __init__(
        self,
        tokenizer: Tokenizer,
        template: ChatTemplate,
        reader: OutputReader,
        vision: Vision | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._reader = reader
        self._recorded_text = RecordedText(tokenizer, reader)
        self._vision = vision
        self._encoder = PromptEncoder(tokenizer, template.end_of_turn)
        self._raw_prompts = RawPrompts(tokenizer, self._encoder)

    async def attach(
        self, request: Request, history: EpisodeHistory, images: Sequence[SizedImage] = ()
    ) -> Attachment:
        """Continue a recorded output if the request continues one; branch otherwise.

        What other calls add to the history while a long text is encoded is seen: the place is looked up afterwards.
        """
        if request.prompt is not None:
            return await self._attach_raw(request, request.prompt, history)
        conversation = Conversation.of(request, self._template, images)
        place = self._cut_output(conversation, history) or await self._place(conversation, history)
        anchor, context = place.anchor, place.context
        prompt = Prompt(history, anchor, context, place.media)
        self._check_images(prompt, images)
        return Attachment(
            anchor=anchor,
            context=context,
            prompt=prompt,
            tail=self._recorded_text.tail(prompt),
            media=place.media,
            template=self._template.digest,
            tools=request.offered_tools.digest,
            chain=conversation.chain,
            prefill=conversation.prefill,
            forced=place.forced,
            how=place.how,
            continues=_known(conversation, history),
            break_class=place.break_class,
            notes=place.notes,
        )

    async def _attach_raw(
        self, request: Request, raw: str | Sequence[int], history: EpisodeHistory
    ) -> Attachment:
        """Continue what is recorded as far as the prompt begins with it; no template has a say."""
        anchor, new = await self._raw_prompts.place(raw, history)
        context, media = self._expand(new, ())
        how: How = "root" if anchor is None else "branched" if anchor.output < 0 else "bridged"
        return Attachment(
            anchor=anchor,
            context=context,
            prompt=Prompt(history, anchor, context),
            tail="",
            media=media,
            template="",
            tools="",
            chain=Chain(RAW_PROMPT, request.prints),
            prefill="",
            forced=0,
            how=how,
            continues=("", 0),
            break_class=None,
        )

    async def num_tokens(self, request: Request, images: Sequence[SizedImage] = ()) -> int:
        """How many tokens the prompt of a request has that continues no record."""
        conversation = Conversation.of(request, self._template, images)
        prompt = await self._encoder.encode(conversation.rendered(self._template).text)
        ids, _ = self._expand(prompt, images)
        forced = await self._encoder.encode_whole(conversation.opening.text)
        return len(ids) + len(forced)

    def _cut_output(self, conversation: Conversation, history: EpisodeHistory) -> _JoinPoint | None:
        """If a prefill repeats an output that was cut by length, that output is continued and nothing is forced."""
        if not conversation.prefill:
            return None
        message: ChatMessage = {"role": "assistant", "content": conversation.prefill}
        for anchor in reversed(history.trie.find(conversation.chain.extended(message))):
            is_cut = history.output(anchor).finish_reason == "length"
            # A prefill does not hold reasoning, and only the template decides whether reasoning shows.
            if is_cut and not self._recorded_text.reasoning(anchor, history):
                return _JoinPoint(anchor, np.empty(0, TOKEN), "bridged")
        return None

    async def _place(self, conversation: Conversation, history: EpisodeHistory) -> _JoinPoint:
        place = await self._context(conversation, history)
        if not conversation.prefill:
            return place
        forced = np.array(await self._encoder.encode_whole(conversation.opening.text), TOKEN)
        context = np.concatenate([place.context, forced])
        return place._replace(context=context, forced=len(forced))

    async def _context(self, conversation: Conversation, history: EpisodeHistory) -> _JoinPoint:
        breaks: list[Break] = []
        for num_known, anchor in _candidates(conversation, history):
            bridge = await self._bridge(conversation, num_known, anchor, history)
            if isinstance(bridge, Break):
                breaks.append(bridge)
                continue
            how: How = "branched" if breaks else "bridged"
            unknown = conversation.images[len(history.trie.media(anchor)) :]
            context, media = self._expand(np.array(bridge.ids, TOKEN), unknown)
            # Another call may have added the same tokens, as when one prompt is sampled several times.
            end, num_shared = history.trie.longest_prefix(context, media, after=anchor)
            why = breaks[0] if breaks else None
            new = _from(num_shared, media)
            return _JoinPoint(end, context[num_shared:], how, why, media=new, notes=bridge.notes)
        rendered = conversation.rendered(self._template)
        encoded = await self._encoder.encode(rendered.text)
        prompt, media = self._expand(encoded, conversation.images)
        branch, num_shared = history.trie.longest_prefix(prompt, media)
        new = _from(num_shared, media)
        if history.trie.num_turns and not breaks:
            shared = collapse(prompt[:num_shared], media[: len(media) - len(new)])
            known = self._tokenizer.decode(shared.tolist())
            breaks.append(break_of(conversation.messages, rendered=rendered.text, known=known))
        how = "branched" if num_shared else "root"
        why = breaks[0] if breaks else None
        return _JoinPoint(branch, prompt[num_shared:], how, why, media=new, notes=rendered.notes)

    def _expand(self, ids: Ids, images: Sequence[SizedImage]) -> tuple[Ids, Sequence[Media]]:
        """Expand each image placeholder to the image's number of tokens."""
        if self._vision is None:
            return ids, ()
        if self._vision.num_images(ids) != len(images):
            raise self._ambiguous()
        return self._vision.expand(ids, images)

    def _check_images(self, prompt: Prompt, images: Sequence[SizedImage]) -> None:
        """Refuse extra placeholders: an engine assigns images by the order of placeholders."""
        if self._vision is None or not images:
            return
        shown = [image.digest for image in prompt.media]
        num_placeholders = self._vision.num_images(prompt.collapsed)
        if shown != [image.digest for image in images] or num_placeholders != len(images):
            raise self._ambiguous()

    def _ambiguous(self) -> BadRequest:
        assert self._vision is not None
        placeholder = self._tokenizer.decode([self._vision.placeholder])
        return BadRequest(
            f"the prompt holds a {placeholder} that stands for no image, in a text or in an output; "
            "an engine would take it for an image",
            param="messages",
            code="ambiguous_images",
        )

    async def _bridge(
        self, conversation: Conversation, num_known: int, anchor: Anchor, history: EpisodeHistory
    ) -> _Bridge | Break:
        r"""Ids to add after a recorded output, or why the template does not show that output as sampled.

        recorded  ...assistant\n Hi<end>
        rendered  ...assistant\n Hi<end>\n<start>user\n Bye<end>\n<start>assistant\n
        added                           \n<start>user\n Bye<end>\n<start>assistant\n
        """
        messages = self._with_reasoning(conversation, num_known, history)
        boundary = self._template.suffix(
            messages, conversation.tools, num_known, extra=conversation.extra
        )
        ids = history.output_ids(anchor)
        if boundary is None or not ids:
            return Break.TEMPLATE
        if self._is_readable(boundary, anchor, history) and not self._recorded_text.matches(
            boundary.output, anchor, history
        ):
            return Break.READING
        suffix = conversation.opening.after(boundary.suffix)
        new = await self._encoder.encode_whole(suffix)
        return _Bridge(self._template.joined(boundary, ids[-1], new), boundary.notes)

    @staticmethod
    def _is_readable(boundary: TurnBoundary, anchor: Anchor, history: EpisodeHistory) -> bool:
        """Whether the rendered output says something about the recorded one: not if it was cut, or written in no format."""
        return boundary.is_exact and not history.output(anchor).flags & _UNREADABLE

    def _with_reasoning(
        self, conversation: Conversation, num_known: int, history: EpisodeHistory
    ) -> Sequence[ChatMessage]:
        """Put recorded reasoning back into messages whose client dropped it; the template decides whether it shows."""
        messages, chain = conversation.messages, conversation.chain
        if not self._reader.reads_reasoning or history.policy is HistoryPolicy.VERBATIM:
            return messages

        roles = roles_of(messages)

        def with_reasoning(place: int) -> ChatMessage:
            message = messages[place]
            if "reasoning_content" in message:
                return message
            reasoning = self._reasoning(history, chain.after(place + 1))
            return {**message, "reasoning_content": reasoning} if reasoning else message

        def at(place: int) -> ChatMessage:
            if place >= num_known or roles[place] != "assistant":
                return messages[place]
            return Unread("assistant", lambda: with_reasoning(place))

        return Messages(len(messages), at, roles)

    def _reasoning(self, history: EpisodeHistory, chain: str) -> str:
        """The reasoning of the message that ends at this chain."""
        anchors = history.trie.find(chain)
        if not anchors:
            return ""
        return self._recorded_text.reasoning(anchors[-1], history)


def _from(num_shared: int, media: Sequence[Media]) -> list[Media]:
    """The images after the first `num_shared` tokens, with positions counted from there."""
    return [image.moved(-num_shared) for image in media if image.start >= num_shared]


def _known(conversation: Conversation, history: EpisodeHistory) -> tuple[str, int]:
    """The latest turn whose messages are kept and with whose reply the conversation begins, and how many messages it ends."""
    if not conversation.request.keeps_messages:
        return "", 0
    for num_known, anchor in _candidates(conversation, history):
        if history.trie.turn(anchor.turn_id).keeps_messages:
            return anchor.turn_id, num_known
    return "", 0


def _candidates(
    conversation: Conversation, history: EpisodeHistory
) -> Iterator[tuple[int, Anchor]]:
    """Recorded outputs that the conversation continues: the longest first, of equal ones the newest."""
    if not history.trie.num_turns:
        return
    after = conversation.chain.cached_after()
    roles = roles_of(conversation.messages)
    for num_known in range(len(roles), 0, -1):
        if roles[num_known - 1] == "assistant":
            for anchor in reversed(history.trie.find(after(num_known))):
                yield num_known, anchor
