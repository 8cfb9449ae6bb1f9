"""Reads sampled text as a message (reasoning, content and tool calls) in the formats of the served model."""

from collections.abc import Callable
from dataclasses import dataclass

from gateway.parsing.call_format import CallFormat
from gateway.parsing.call_parser import Tools
from gateway.parsing.deltas import Message, fold
from gateway.parsing.output_parser import OutputParser, markers_of
from gateway.parsing.reasoning_format import ReasoningFormat
from rollout.chat_template.openai_messages import parsed_arguments


@dataclass(frozen=True, slots=True)
class OutputReader:
    """Makes a parser per output; a format is None where the model does not write it."""

    call_format: CallFormat | None
    reasoning_format: ReasoningFormat | None

    @property
    def reads_reasoning(self) -> bool:
        return self.reasoning_format is not None

    @property
    def markers(self) -> frozenset[str]:
        return markers_of(self.call_format, self.reasoning_format)

    def parser(
        self, *, tools: Tools, prompt_tail: str, new_id: Callable[[], str] = str
    ) -> OutputParser:
        """A parser for one output; the end of its prompt may have opened the reasoning. `new_id` names its calls."""
        call_format = self.call_format if tools else None
        return OutputParser(
            call_format,
            self.reasoning_format,
            prompt_tail=prompt_tail,
            tools=tools,
            new_id=new_id,
        )

    @staticmethod
    def plain_parser() -> OutputParser:
        """A parser for an output that is text and nothing else."""
        return OutputParser(None, None)

    def read(self, text: str, prompt_tail: str) -> Message:
        """The message of a recorded output; the tools that were offered are not known here."""
        parser = OutputParser(self.call_format, self.reasoning_format, prompt_tail=prompt_tail)
        return fold([*parser.feed(text), *parser.finish()])

    def agree(self, rendered: str, sampled: str, prompt_tail: str) -> bool:
        """Whether both texts mean the same, up to whitespace at the ends and the spelling of JSON."""
        if rendered == sampled:
            return True
        shown, written = self.read(rendered, prompt_tail), self.read(sampled, prompt_tail)
        return _meaning(shown) == _meaning(written) or _closes(shown, written)


Meaning = tuple[str, str, list[tuple[str, object]]]


def _meaning(message: Message) -> Meaning:
    calls = [(call.name, parsed_arguments(call.arguments)) for call in message.tool_calls]
    return message.content.strip(), message.reasoning.strip(), calls


def _closes(shown: Message, written: Message) -> bool:
    """Whether the only difference is that the template closed a call whose arguments were cut."""
    if not shown.tool_calls or len(shown.tool_calls) != len(written.tool_calls):
        return False
    whole, cut = shown.tool_calls[-1].arguments, written.tool_calls[-1].arguments
    is_cut = isinstance(parsed_arguments(cut), str) and whole.startswith(cut)
    return is_cut and _without_last_arguments(shown) == _without_last_arguments(written)


def _without_last_arguments(message: Message) -> Meaning:
    content, reasoning, calls = _meaning(message)
    return content, reasoning, [*calls[:-1], (calls[-1][0], None)]
