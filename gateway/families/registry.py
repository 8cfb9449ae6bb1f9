"""The families in the order in which a chat template is compared with them, and the formats that they bring.

A model of no family follows the same rule: of all formats, the first whose texts its template shows.
"""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from gateway.families.deepseek import DEEPSEEK
from gateway.families.glm import GLM
from gateway.families.gpt_oss import GPT_OSS
from gateway.families.kimi import KIMI
from gateway.families.llama import LLAMA
from gateway.families.minimax import MINIMAX
from gateway.families.mistral import MISTRAL
from gateway.families.model_family import ModelFamily
from gateway.families.qwen import QWEN
from gateway.families.qwen3_coder import QWEN3_CODER
from gateway.parsing.call_format import CallFormat
from gateway.parsing.output_reader import OutputReader
from gateway.parsing.reasoning_format import ReasoningFormat

Format = TypeVar("Format", CallFormat, ReasoningFormat)

# What shows more texts comes first: Qwen's <tool_call> alone is the rest of three families.
FAMILIES: tuple[ModelFamily, ...] = (
    GPT_OSS,
    MINIMAX,
    QWEN3_CODER,
    GLM,
    QWEN,
    DEEPSEEK,
    KIMI,
    MISTRAL,
    LLAMA,
)


def family_of(template_source: str, families: Iterable[ModelFamily] = FAMILIES) -> str | None:
    """The name of the family, None for a template of no known one."""
    known = (each.name for each in families if each.recognized_by.are_in(template_source))
    return next(known, None)


def call_formats(families: Iterable[ModelFamily] = FAMILIES) -> dict[str, CallFormat]:
    """By name, in the order of comparison."""
    return {form.name: form for family in families for form in family.call_formats}


def reasoning_formats(families: Iterable[ModelFamily] = FAMILIES) -> dict[str, ReasoningFormat]:
    """By name, in the order of comparison."""
    return {form.name: form for family in families for form in family.reasoning_formats}


def output_reader(
    template_source: str,
    families: Sequence[ModelFamily] = FAMILIES,
    *,
    tool_format: str | None = None,
    reasoning_format: str | None = None,
) -> OutputReader:
    """Reads outputs in the named formats, or in those that the template shows."""
    return OutputReader(
        _chosen(call_formats(families), tool_format, template_source),
        _chosen(reasoning_formats(families), reasoning_format, template_source),
    )


def _chosen(formats: dict[str, Format], name: str | None, template_source: str) -> Format | None:
    if name is not None:
        return formats[name]
    return next((form for form in formats.values() if form.shown_by.are_in(template_source)), None)
