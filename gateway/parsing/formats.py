"""The formats of reasoning and tool calls, and how a chat template shows which its model writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import msgspec

from gateway.parsing import harmony
from gateway.parsing.reasoning import ReasoningParser, TaggedReasoning


class ReasoningFormat(msgspec.Struct, frozen=True):
    parser: Callable[[str], ReasoningParser]  # of a prompt's end
    markers: tuple[str, ...]


def _tagged(opening: str, closing: str) -> ReasoningFormat:
    return ReasoningFormat(partial(TaggedReasoning, opening, closing), (opening, closing))


REASONING_FORMATS: Mapping[str, ReasoningFormat] = {
    "think": _tagged("<think>", "</think>"),
    "mistral_think": _tagged("[THINK]", "[/THINK]"),
    "kimi_think": _tagged("◁think▷", "◁/think▷"),
    "harmony": ReasoningFormat(harmony.HarmonyReasoning, harmony.MARKERS),
}

# A format and the texts that a chat template shows of it; the first whose texts all are there.
Shown = tuple[tuple[str, tuple[str, ...]], ...]
TOOLS_SHOWN: Shown = (
    ("harmony", ("<|channel|>", "<|message|>")),
    ("minimax", ("<minimax:tool_call>", "<invoke ")),
    ("qwen_xml", ("<tool_call>", "<function=")),
    ("glm", ("<tool_call>", "<arg_key>")),
    ("hermes", ("<tool_call>",)),
    ("deepseek_v3", ("<｜tool▁calls▁begin｜>", "```json")),
    ("deepseek_v31", ("<｜tool▁calls▁begin｜>",)),
    ("kimi", ("<|tool_calls_section_begin|>",)),
    ("kimi", ("<|im_middle|>",)),  # its first template shows tools and no calls
    ("mistral_named", ("[TOOL_CALLS]", "[ARGS]")),
    ("mistral", ("[TOOL_CALLS]",)),
    ("llama", ('{"name": function name, "parameters":',)),
)
REASONING_SHOWN: Shown = (
    ("harmony", ("<|channel|>", "<|message|>")),
    ("think", ("</think>",)),
    ("mistral_think", ("[THINK]",)),
    ("kimi_think", ("◁/think▷",)),
)


class OutputFormat(msgspec.Struct, frozen=True):
    """How a model writes tool calls and reasoning: names of formats, None where it does not."""

    tools: str | None
    reasoning: str | None

    @classmethod
    def detect(cls, template_source: str) -> OutputFormat:
        """What the chat template shows of it."""

        def shown(table: Shown) -> str | None:
            return next(
                (name for name, texts in table if all(t in template_source for t in texts)), None
            )

        return cls(tools=shown(TOOLS_SHOWN), reasoning=shown(REASONING_SHOWN))
