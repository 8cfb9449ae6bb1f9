"""An agent and a model of one family, without servers: what a gateway would attach, and what the model would be shown."""

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson

from gateway.attach.attacher import Attacher
from gateway.attach.attachment import Attachment
from gateway.attach.episode_history import EpisodeHistory
from gateway.dialects.chat.dialect import ChatDialect
from gateway.families.registry import output_reader
from gateway.request.conversation_hash import answer
from gateway.request.minted_ids import call_ids, new_turn_id
from gateway.request.request import Request
from gateway.turn.output_builder import OutputBuilder
from rollout.chat_template.chat_template import ChatTemplate
from rollout.engine.generation import Chunk, Finish
from rollout.episode.episode_records import parse_header
from rollout.episode.turn import OutputFlags, Turn, VersionInterval
from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.model_outputs import TOOLS, Call, written

OPENED = ("<think>\n", "<think>")


class Dialogue:
    """The agent sends back each reply; the model writes its family's format and ends with the family's tokens."""

    def __init__(
        self,
        template: ChatTemplate,
        tokenizer: Tokenizer,
        *,
        ends: tuple[str, str],
        with_tools: bool,
        **template_kwargs: object,
    ) -> None:
        self.reader = output_reader(template.source)
        self.messages: list[Any] = []
        self._template = template
        self._tokenizer = tokenizer
        self._ends = [tokenizer.token_id(text) for text in ends]
        self._tools = tuple(TOOLS) if with_tools else ()
        self._kwargs = template_kwargs
        self._attacher = Attacher(tokenizer, template, self.reader)
        self._history = EpisodeHistory(parse_header([b"ep_1", b"open", *[None] * 20]))
        # Of the outputs in the prompt: how many messages there were with it, its text as sampled, as rendered since.
        self._spellings: list[tuple[int, str, str]] = []
        self._outputs: dict[str, tuple[int, list[int]]] = {}

    def turn(self, thought: str = "", content: str = "", calls: Sequence[Call] = ()) -> Attachment:
        """The model answers the conversation so far; the prompt it sees is checked against the template's."""
        request = self._request(self.messages)
        attachment = self._attached(request)
        self._check_prompt(attachment)
        text = self._written(thought, content, calls, attachment.tail)
        self._answer(request, attachment, self._sampled(text, ends_in_call=bool(calls)))
        return attachment

    def cut_turn(self, content: str, calls: Sequence[Call], share: float) -> Attachment:
        """The same, but only the first tokens of the answer are sampled."""
        request = self._request(self.messages)
        attachment = self._attached(request)
        text = self._written("", content, calls, attachment.tail)
        ids = self._tokenizer.encode(text)
        cut = ids[: max(1, int(share * len(ids)))]
        self._answer(request, attachment, cut, Finish("length"))
        return attachment

    def begin(self, words: str) -> str:
        """The model continues a message that the agent began; returns the prompt."""
        begun = {"role": "assistant", "content": words}
        request = self._request([*self.messages, begun], continue_final_message=True)
        attachment = self._attached(request)
        self._answer(request, attachment, self._sampled(", three.", ends_in_call=False))
        return self._tokenizer.decode(attachment.prompt.ids.tolist())

    def _attached(self, request: Request) -> Attachment:
        return asyncio.run(self._attacher.attach(request, self._history))

    def _request(self, messages: Sequence[Any], **options: object) -> Request:
        body = {"messages": messages, "tools": self._tools, "chat_template_kwargs": self._kwargs}
        return ChatDialect().parse(orjson.dumps(body | options), path="")

    def _answer(
        self,
        request: Request,
        attachment: Attachment,
        ids: list[int],
        finish: Finish | None = None,
    ) -> None:
        builder = OutputBuilder(
            0,
            request=request,
            tokenizer=self._tokenizer,
            parser=self.reader.parser(
                tools=self._tools,
                prompt_tail=attachment.tail,
                new_id=call_ids(new_turn_id(), 0),
            ),
            flags=OutputFlags.NONE,
        )
        covered = (VersionInterval(1, 0, len(ids)),)
        chunk = Chunk(
            ids=ids,
            logprobs=[-1.0] * len(ids),
            finish=finish or Finish("stop", ids[-1]),
            versions=covered,
        )
        builder.add(chunk)
        self.messages.append(answer(builder.choice(), attachment.prefill))
        self._commit(attachment, builder)

    def hear(self, content: str) -> None:
        self.messages.append({"role": "user", "content": content})

    def return_results(self, *contents: str) -> None:
        """One result for each call of the last message."""
        for call, content in zip(self.messages[-1]["tool_calls"], contents, strict=True):
            result = {"role": "tool", "tool_call_id": call["id"], "content": content}
            self.messages.append(result)

    def _written(self, thought: str, content: str, calls: Sequence[Call], tail: str) -> str:
        closed = tail.rstrip().endswith(("</think>", "<｜tool▁output▁end｜>"))
        thought = thought if self.reader.reads_reasoning and not closed else ""
        calls_in = self.reader.call_format
        text = written(calls_in.name if calls_in else "hermes", thought, content, calls)
        opened = next((tag for tag in OPENED if tail.endswith(tag)), None)
        if opened is None:
            return text
        return text.removeprefix("<think>\n") if thought else "</think>\n\n" + text

    def _sampled(self, text: str, *, ends_in_call: bool) -> list[int]:
        end = self._ends[ends_in_call]
        assert end is not None
        ids = self._tokenizer.encode(text)
        return ids if ids[-1] == end else [*ids, end]

    def _commit(self, attachment: Attachment, builder: OutputBuilder) -> None:
        turn = Turn(
            id=f"turn_{self._history.trie.num_turns}",
            kind="train",
            created_ms=0,
            anchor=attachment.anchor,
            context=attachment.context.tobytes(),
            outputs=(builder.record(),),
            forced=attachment.forced,
            prompt_chain=attachment.chain.end,
            output_chains=(attachment.chain.extended(self.messages[-1]),),
        )
        self._history.add(turn, self._history.trie.num_turns)
        forced = attachment.context[len(attachment.context) - attachment.forced :]
        self._outputs[turn.id] = len(self.messages), [*forced.tolist(), *builder.ids]

    def _check_prompt(self, attachment: Attachment) -> None:
        """The prompt is the encoded text of the template, or decodes to it, with outputs spelled as they were sampled."""
        tools = list(self._tools) or None
        rendered = self._template.render(self.messages, tools, extra=self._kwargs)
        ids = attachment.prompt.ids.tolist()
        if ids == self._tokenizer.encode(rendered):
            self._spellings = []
            return
        assert attachment.anchor is not None
        start, output_ids = self._outputs[attachment.anchor.turn_id]
        assert attachment.anchor.output >= 0
        boundary = self._template.suffix(self.messages, tools, start, extra=self._kwargs)
        assert boundary is not None
        end = boundary.end_of_turn or self._tokenizer.decode(output_ids[-1:])
        spelling = start, self._tokenizer.decode(output_ids), boundary.output + end
        self._spellings = [each for each in self._spellings if each[0] < start] + [spelling]
        assert self._as_rendered(self._tokenizer.decode(ids)) == rendered

    def _as_rendered(self, prompt: str) -> str:
        done = ""
        for _, as_sampled, as_rendered in self._spellings:
            before, found, prompt = prompt.partition(as_sampled)
            assert found
            done += before + as_rendered
        return done + prompt
