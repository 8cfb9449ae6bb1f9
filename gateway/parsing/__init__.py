"""Splits a model's output into content, reasoning and tool calls while it streams."""
