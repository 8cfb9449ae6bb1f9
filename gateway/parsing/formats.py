"""Which model families write in which format, and how their chat templates show it."""

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

# Format, the families that write it, and the texts that a chat template shows of it; the first whose texts all are there.
TOOLS_SHOWN: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("harmony", "gpt-oss", ("<|channel|>", "<|message|>")),
    ("minimax", "MiniMax M2", ("<minimax:tool_call>", "<invoke ")),
    ("qwen_xml", "Qwen3-Coder, Qwen3.5, Nemotron 3", ("<tool_call>", "<function=")),
    ("glm", "GLM-4.5 and later", ("<tool_call>", "<arg_key>")),
    ("hermes", "Qwen2.5, Qwen3, Hermes", ("<tool_call>",)),
    ("deepseek_v3", "DeepSeek V3, R1 and distilled", ("<｜tool▁calls▁begin｜>", "```json")),
    ("deepseek_v31", "DeepSeek V3.1", ("<｜tool▁calls▁begin｜>",)),
    ("kimi", "Kimi K2", ("<|tool_calls_section_begin|>",)),
    ("mistral_named", "Mistral and Ministral since v11", ("[TOOL_CALLS]", "[ARGS]")),
    ("mistral", "Mistral before v11", ("[TOOL_CALLS]",)),
    ("llama", "Llama 3.1 to 3.3", ('{"name": function name, "parameters":',)),
)
REASONING_SHOWN: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("harmony", "gpt-oss", ("<|channel|>", "<|message|>")),
    ("think", "Qwen3, DeepSeek R1, GLM-4.5, MiniMax M2, Kimi K2 Thinking", ("</think>",)),
    ("mistral_think", "Magistral, Ministral 3", ("[THINK]",)),
    ("kimi_think", "Kimi-VL Thinking", ("◁/think▷",)),
)


class OutputFormat(msgspec.Struct, frozen=True):
    """How a model writes tool calls and reasoning: names of formats, None where it does not."""

    tools: str | None
    reasoning: str | None

    @classmethod
    def detect(cls, template_source: str) -> OutputFormat:
        """What the chat template shows of it."""

        def shown(table: tuple[tuple[str, str, tuple[str, ...]], ...]) -> str | None:
            return next(
                (name for name, _, texts in table if all(t in template_source for t in texts)), None
            )

        return cls(tools=shown(TOOLS_SHOWN), reasoning=shown(REASONING_SHOWN))
