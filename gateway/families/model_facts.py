"""How the served model is rendered and read, for the log at start and for `/v1/models`."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass

from gateway.parsing.output_reader import OutputReader
from rollout.chat_template.chat_template import ChatTemplate
from rollout.tokenizer.tokenizer import Tokenizer

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """`family` is None for a model that follows the generic rule.

    `after_…`: "bridged" if an output that the template shows unchanged is continued, else "branches".
    """

    family: str | None
    tool_format: str | None
    reasoning_format: str | None
    tokenizer: str
    after_results: str
    after_questions: str

    @classmethod
    def of(
        cls, family: str | None, template: ChatTemplate, tokenizer: Tokenizer, reader: OutputReader
    ) -> ModelFacts:
        calls, reasoning = reader.call_format, reader.reasoning_format
        return cls(
            family=family,
            tool_format=calls.name if calls else None,
            reasoning_format=reasoning.name if reasoning else None,
            tokenizer=tokenizer.kind,
            after_results=template.after_results,
            after_questions=template.after_questions,
        )

    def log_at_start(self) -> None:
        """Log what is served, as a warning if nobody has tried such a model before."""
        if self.family is None:
            log.warning("model of no known family: the generic rule applies", extra=asdict(self))
        else:
            log.info("model", extra=asdict(self))
