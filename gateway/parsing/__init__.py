"""What a model wrote, told apart while it is being written: text, reasoning, tool calls."""

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
