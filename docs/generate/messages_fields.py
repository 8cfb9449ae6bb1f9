"""What each field of a Messages body means; `tests/test_manual.py` compares the names with the code."""

from collections.abc import Mapping

PROMPT: Mapping[str, str] = {
    "messages": "the conversation, as Anthropic defines it, `system` messages in it too; a last message of the assistant is continued",
    "model": "`policy`, any other name (read as `policy`), or `policy@<version>`, which must be served",
    "system": "a system message before the others: text, or blocks of text, which are joined by newlines",
    "tools": "functions that the model may call; types that only Anthropic's servers run are left out with a note",
    "tool_choice": "`auto`, `any`, `none`, or `tool` with a name; `disable_parallel_tool_use`: at most one call in a turn",
    "thinking": "`enabled` and `disabled` are given to the chat template, `adaptive` leaves it to the model; `display: omitted` hides the text",
    "output_config": "`format` with a JSON schema is a grammar; `effort` is given to the chat template",
    "output_format": "the older place of `output_config.format`",
    "metadata": "`episode_id` in it names the episode; `session_id` is the runtime's own id of a session",
}
MEANINGS: Mapping[str, str] = PROMPT | {
    "max_tokens": "most tokens to sample",
    "stream": "send the reply as server-sent events",
    "stop_sequences": "up to 64 texts at which the shown text ends; the recorded ids are whole",
    "temperature": "of the sampler",
    "top_p": "of the sampler; flags the output as narrowed",
    "top_k": "of the sampler; flags the output as narrowed",
}
