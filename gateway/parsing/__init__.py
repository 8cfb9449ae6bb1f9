"""What a model wrote, told apart while it is being written: text, reasoning, tool calls."""

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
from gateway.parsing.output import (
    REASONING_FORMATS,
    TOOL_FORMATS,
    OutputFormat,
    OutputParser,
    new_call_id,
)

__all__ = [
    "REASONING_FORMATS",
    "TOOL_FORMATS",
    "ContentDelta",
    "Delta",
    "Message",
    "OutputFormat",
    "OutputParser",
    "ParsedToolCall",
    "ReasoningDelta",
    "ToolArgumentsDelta",
    "ToolCallEnd",
    "ToolCallStart",
    "fold",
    "new_call_id",
]
