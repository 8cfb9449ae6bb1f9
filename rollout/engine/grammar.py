"""Grammars that an engine enforces token by token while it samples."""

from typing import Literal, TypeAlias

import msgspec

ArgumentStyle: TypeAlias = Literal["json", "qwen_xml", "glm_xml", "minimax_xml"]


class Regex(msgspec.Struct, frozen=True):
    """The output matches this regular expression."""

    pattern: str


class Ebnf(msgspec.Struct, frozen=True):
    """The output follows these rules in extended Backus-Naur form."""

    rules: str


class JsonSchema(msgspec.Struct, frozen=True):
    """The output is JSON that satisfies this schema, itself JSON text."""

    schema: str


class CallShape(msgspec.Struct, frozen=True):
    """How one function is called: what stands before its arguments, their JSON schema, what stands after them."""

    begin: str
    arguments: object
    end: str
    style: ArgumentStyle


class ToolCalls(msgspec.Struct, frozen=True, kw_only=True):
    """The output has at least one tool call, or is JSON that satisfies `answer_schema` if there is one."""

    trigger: str  # the text that begins every call
    calls: tuple[CallShape, ...]
    is_single: bool  # nothing may follow the first call
    answer_schema: str | None = None


class Thought(msgspec.Struct, frozen=True, kw_only=True):
    """How a model writes a thought before its answer."""

    begin: str  # "" if the prompt ends in an open one
    end: str
    answer: str = ""  # what begins an answer that is no call
    max_tokens: int  # then it is closed, so that there is room for the answer


Answer: TypeAlias = Regex | Ebnf | JsonSchema | ToolCalls


class AfterThought(msgspec.Struct, frozen=True):
    """The output has a thought, of free text, and then what the grammar allows; a thought that the output begins may be left out."""

    thought: Thought
    grammar: Answer


Grammar: TypeAlias = Answer | AfterThought
