"""The model's own chat template: whole prompts, and the suffix that continues stored ids."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os.path
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from rollout.chat_template.adapter import Adapted
from rollout.chat_template.boundary_finder import BoundaryFinder
from rollout.chat_template.message_form import probe
from rollout.chat_template.openai_messages import Message, Tool
from rollout.chat_template.prompt_renderer import PromptRenderer
from rollout.chat_template.rendering import TemplateError
from rollout.chat_template.turn_boundary import BoundaryCutter, TurnBoundary
from rollout.tokenizer.model_directory import ModelDirectory
from rollout.tokenizer.tokenizer import Tokenizer


class MessageOpening(msgspec.Struct, frozen=True):
    """How an assistant's message begins if its first words are given: `text` replaces the prompt's end `replaced`.

    A prompt may end in an opened reasoning tag, and the words may need a channel or closed reasoning before them.
    """

    replaced: str
    text: str

    def after(self, prompt: str) -> str:
        """The prompt without the end that is replaced."""
        return prompt.removesuffix(self.replaced)


class Rendered(msgspec.Struct, frozen=True):
    """A prompt, and what the template cannot show as it was sent."""

    text: str
    notes: tuple[str, ...]


class ChatTemplate:
    """One template together with the tokenizer whose special tokens it writes."""

    def __init__(self, source: str, tokenizer: Tokenizer) -> None:
        self.source = source
        self.digest = hashlib.sha256(source.encode()).hexdigest()[:16]
        self._tokenizer = tokenizer
        self._renderer = PromptRenderer(source, tokenizer.special_tokens)
        self.form = self._renderer.form
        self.end_of_turn = _end_of_turn(self._renderer, tokenizer)
        ends = _ends(self._renderer, tokenizer, self.end_of_turn)
        tokens, words = _openers(self._renderer, tokenizer)
        self._shows_end_tokens = bool(ends or tokens)
        self._cutter = BoundaryCutter(self._renderer, ends=ends, openers=tokens or words)
        self._boundaries = BoundaryFinder(self._renderer, self._cutter)
        self.after_results = self._boundaries.after_results
        self.after_questions = self._boundaries.after_questions

    @classmethod
    def load(cls, model_dir: str | Path, tokenizer: Tokenizer) -> ChatTemplate:
        return cls(ModelDirectory(model_dir).chat_template(), tokenizer)

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] | None = None,
        *,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        extra: Mapping[str, Any] | None = None,
    ) -> str:
        """The same text as transformers' `apply_chat_template`; `extra` holds the template's own variables."""
        if continue_final_message:
            return self._renderer.unfinished(messages, tools, extra)
        if add_generation_prompt:
            return self.prompt(messages, tools, extra=extra).text
        return self._renderer.conversation(self._renderer.normalized(messages), tools, extra)

    def prompt(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] | None = None,
        *,
        extra: Mapping[str, Any] | None = None,
    ) -> Rendered:
        """The messages and the opening of the assistant's next one."""
        adapted = self.adapted(messages)
        return Rendered(self._renderer.prompt(adapted.messages, tools, extra), adapted.notes)

    def adapted(self, messages: Sequence[Message]) -> Adapted:
        """The messages as the template reads them, and what it cannot show as it was sent."""
        return self._renderer.adapted(messages)

    def suffix(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] | None,
        start: int,
        *,
        extra: Mapping[str, Any] | None = None,
    ) -> TurnBoundary | None:
        """The prompt's continuation after the stored output that is `messages[start - 1]`.

        None if the template now writes that output differently, for example without earlier reasoning.
        """
        return self._boundaries.find(messages, tools, start, extra)

    def opening(self, words: str, *, extra: Mapping[str, Any] | None = None) -> MessageOpening:
        """How a message that starts with these words begins; the shortest prompt shows it, as history does not matter."""
        question = self._renderer.normalized(SHORTEST[:1])
        prompt = self._renderer.prompt(question, None, extra)
        begun = {"role": "assistant", "content": ANSWER}
        head = self._renderer.unfinished([SHORTEST[0], begun], None, extra).removesuffix(ANSWER)
        shared = len(os.path.commonprefix([prompt, head]))  # noqa: RUF071 - texts, not paths
        return MessageOpening(prompt[shared:], head[shared:] + words)

    def outputs(
        self, text: str, messages: Sequence[Message], tools: Sequence[Tool] | None
    ) -> Iterator[tuple[int, int]]:
        """Begin and end of each output in the rendered conversation, its end token included."""
        if not self._shows_end_tokens:
            return iter(())
        return self._cutter.outputs(text, self._renderer.normalized(messages), tools)

    def bridge(self, boundary: TurnBoundary, last_id: int) -> list[int]:
        """The ids between a stored output that ends in `last_id` and the next output."""
        return self.joined(boundary, last_id, self._tokenizer.encode(boundary.suffix))

    def joined(self, boundary: TurnBoundary, last_id: int, suffix: list[int]) -> list[int]:
        """The same if the ids of the boundary's suffix are known."""
        end = self._tokenizer.encode(boundary.end_of_turn)
        if last_id not in self._tokenizer.eos_ids and [last_id] != end:
            return end + suffix  # the output was cut: close it
        if not end and suffix[:1] == [last_id]:  # it opens the next message too
            return suffix[1:]
        return suffix


def encode_chat(
    template: ChatTemplate,
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    tools: Sequence[Tool] | None = None,
) -> tuple[list[int], list[bool]]:
    """Ids, and which of them an assistant would have sampled, cut where generation would have begun and stopped.

    prompt | output end-of-turn | rest of the prompt of the next turn | output end-of-turn | rest
    """
    text = template.render(messages, tools, add_generation_prompt=False)
    ids: list[int] = []
    mask: list[bool] = []
    position = 0
    for begin, end in template.outputs(text, messages, tools):
        for piece, sampled in ((text[position:begin], False), (text[begin:end], True)):
            new = tokenizer.encode(piece)
            ids += new
            mask += [sampled] * len(new)
        position = end
    if not position:
        raise TemplateError("no assistant message here is rendered as it would be sampled")
    rest = tokenizer.encode(text[position:])
    return ids + rest, mask + [False] * len(rest)


ANSWER, NEXT = "What was said", "What comes next"
SHORTEST: Final[Sequence[Message]] = (
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": ANSWER},
)


def _end_of_turn(renderer: PromptRenderer, tokenizer: Tokenizer) -> str:
    """The token that closes an assistant message; "" if the next message's opener does."""
    _, shown, tail = renderer.conversation(renderer.normalized(SHORTEST)).rpartition(ANSWER)
    if not shown:
        raise TemplateError(
            "the chat template does not show a text message; only templates that do can be served"
        )
    closing = list(_leading_tokens(tail, tokenizer))
    ending = (text for text in closing if tokenizer.token_id(text) in tokenizer.eos_ids)
    return next(ending, closing[0] if closing else "")


def _ends(renderer: PromptRenderer, tokenizer: Tokenizer, end_of_turn: str) -> list[str]:
    """The tokens that end a message: of a text, and of a call if that is another token (gpt-oss)."""
    with contextlib.suppress(TemplateError):
        text = renderer.conversation(renderer.normalized(probe(None)[:2])).rstrip()
        last = tokenizer.encode(text)[-1]
        if last in tokenizer.eos_ids and (end_of_call := tokenizer.decode([last])) != end_of_turn:
            return [end_of_turn, end_of_call] if end_of_turn else []
    return [end_of_turn] if end_of_turn else []


def _openers(renderer: PromptRenderer, tokenizer: Tokenizer) -> tuple[set[str], set[str]]:
    """How messages after an assistant message begin: their first tokens, and the texts before their contents."""
    tokens, words = set(), set()
    for role in ("user", "tool"):
        chat = renderer.normalized([*SHORTEST, {"role": role, "content": NEXT}])
        with contextlib.suppress(TemplateError):
            tail = renderer.conversation(chat).rpartition(ANSWER)[2]
            tokens |= set(itertools.islice(_leading_tokens(tail, tokenizer), 1))
            words.add(tail.partition(NEXT)[0])
    return tokens, {text for text in words if text.strip()}


def _leading_tokens(text: str, tokenizer: Tokenizer) -> Iterator[str]:
    """The added tokens at the beginning of a text; spaces are skipped."""
    for token in tokenizer.encode(text.lstrip()):
        added = tokenizer.decode([token])
        if tokenizer.token_id(added) is None:
            return
        yield added
