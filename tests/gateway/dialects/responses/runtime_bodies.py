"""What runtimes send: the fields and item types of Codex and of the AI SDK, with texts of our own."""

from typing import Any

CODEX_TOOLS: Any = [
    {
        "type": "function",
        "name": "shell",
        "description": "Runs a command.",
        "strict": False,
        "parameters": {
            "type": "object",
            "properties": {"command": {"type": "array", "items": {"type": "string"}}},
            "required": ["command"],
            "additionalProperties": False,
        },
    },
    {
        "type": "custom",
        "name": "apply_patch",
        "description": "Edits files.",
        "format": {"type": "grammar", "syntax": "lark", "definition": "start: begin /.+/ end"},
    },
    {
        "type": "namespace",
        "name": "mcp__docs",
        "description": "Docs.",
        "tools": [
            {
                "type": "function",
                "name": "search",
                "description": "Finds pages.",
                "strict": False,
                "parameters": {
                    "type": "object",
                    "properties": {"query": {"type": "string"}},
                    "required": ["query"],
                },
            }
        ],
    },
    {"type": "namespace", "name": "mcp__none", "description": "Nothing.", "tools": []},
    {"type": "web_search", "external_web_access": False},
]


def codex(items: list[Any]) -> dict[str, Any]:
    """A call of Codex: it stores nothing, and sends instructions, a developer message and its context each time."""
    return {
        "model": "policy",
        "instructions": "You are a coding agent.",
        "input": [
            text_message("developer", "<permissions>read only</permissions>"),
            text_message("user", "<environment_context>cwd</environment_context>"),
            text_message("user", "List the files."),
            *items,
        ],
        "tools": CODEX_TOOLS,
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "store": False,
        "stream": True,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "019a0000-0000-7000-8000-000000000000",
        "text": {"verbosity": "low"},
        "client_metadata": {"x-codex-installation-id": "00000000"},
    }


def codex_items(output: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The output as Codex sends it back: without ids and statuses, but for those of calls."""
    shown = {
        "reasoning": ("type", "summary", "encrypted_content"),
        "message": ("type", "role", "content"),
        "function_call": ("type", "name", "namespace", "arguments", "call_id"),
        "custom_tool_call": ("type", "name", "input", "call_id", "status"),
    }
    return [
        {name: item[name] for name in shown[item["type"]] if name in item}
        | ({"content": None} if item["type"] == "reasoning" else {})
        for item in output
    ]


def text_message(role: str, text: str) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]}


def ai_sdk(items: list[Any]) -> dict[str, Any]:
    """A call of the AI SDK, which names the items of stored replies and sends results only."""
    return {
        "model": "policy",
        "input": [
            {"role": "developer", "content": "You price fruit."},
            {"role": "user", "content": [{"type": "input_text", "text": "A melon?"}]},
            *items,
        ],
        "tools": [
            {
                "type": "function",
                "name": "price",
                "description": "What it costs.",
                "parameters": {
                    "$schema": "http://json-schema.org/draft-07/schema#",
                    "type": "object",
                    "properties": {"item": {"type": "string"}},
                    "required": ["item"],
                    "additionalProperties": False,
                },
                "strict": False,
            }
        ],
        "tool_choice": "auto",
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
    }


def ai_sdk_items(output: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"type": "item_reference", "id": item["id"]} for item in output]
