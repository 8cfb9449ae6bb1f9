"""Splits a model's output into content, reasoning and tool calls while it streams."""

from gateway.parsing.call_format import new_call_id
from gateway.parsing.deltas import (
    ContentDelta,
    Delta,
    Message,
    ParsedToolCall,
    ReasoningDelta,
    ToolArgumentsDelta,
    ToolCallEnd,
    ToolCallStart,
    fold,
)
from gateway.parsing.output_parser import OutputParser

__all__ = [
    "ContentDelta",
    "Delta",
    "Message",
    "OutputParser",
    "ParsedToolCall",
    "ReasoningDelta",
    "ToolArgumentsDelta",
    "ToolCallEnd",
    "ToolCallStart",
    "fold",
    "new_call_id",
]
