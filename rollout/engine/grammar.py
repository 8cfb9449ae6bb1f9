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


Grammar: TypeAlias = Regex | Ebnf | JsonSchema | ToolCalls
