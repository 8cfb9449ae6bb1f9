"""The model families known by name, and what is known of the model that is served.

Any other model works too: its markup is read if it is one of the known formats, and where its outputs end is tried when
its template is loaded (`rollout/chat_template/boundary_finder.py`). That nobody has tried it before is said at start and under `/v1/models`.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass

from gateway.parsing.output_reader import Reader
from rollout.chat_template.chat_template import ChatTemplate
from rollout.tokenizer.tokenizer import Tokenizer

log = logging.getLogger(__name__)

# A name, and the texts that a chat template of that family shows; the first whose texts all are there.
FAMILIES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("gpt-oss", ("<|channel|>", "<|message|>")),
    ("MiniMax", ("]~b]", "[e~[")),
    ("Kimi-K2", ("<|im_middle|>",)),
    ("DeepSeek V3, R1", ("<｜User｜>",)),
    ("GLM-4.5 and later", ("<|observation|>",)),
    ("Llama 3", ("<|start_header_id|>",)),
    ("Mistral, Ministral", ("[TOOL_CALLS]",)),
    ("Mistral, Ministral", ("[SYSTEM_PROMPT]",)),
    ("Qwen3-Coder, Qwen3.5 and later, Nemotron 3", ("<|im_start|>", "<function=")),
    ("Qwen2.5, Qwen3, Hermes", ("<|im_start|>", "<tool_call>")),
)


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """How the served model is rendered and read; `family` is None for a model that follows the generic rule.

    `after_…` says what becomes of an output that the template shows again as it was: it is bridged, or it never is.
    """

    family: str | None
    tool_format: str | None
    reasoning_format: str | None
    tokenizer: str
    after_results: str
    after_questions: str

    @classmethod
    def of(cls, template: ChatTemplate, tokenizer: Tokenizer, reader: Reader) -> ModelFacts:
        return cls(
            family=family_of(template.source),
            tool_format=reader.tool_format,
            reasoning_format=reader.reasoning_format,
            tokenizer=tokenizer.kind,
            after_results=template.after_results,
            after_questions=template.after_questions,
        )

    def introduce(self) -> None:
        """Say at start what is served."""
        if self.family is None:
            log.warning(
                "a model of no family we know: the generic rule applies", extra=asdict(self)
            )
        else:
            log.info("model", extra=asdict(self))


def family_of(template_source: str) -> str | None:
    return next(
        (name for name, texts in FAMILIES if all(text in template_source for text in texts)), None
    )
