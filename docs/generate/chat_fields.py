"""What each field of a chat completion's body means; `tests/test_manual.py` compares the names with the code."""

from collections.abc import Mapping

# Those that text completions have too.
SAMPLING: Mapping[str, str] = {
    "model": "`policy`, any other name (read as `policy`), or `policy@<version>`, which must be served",
    "stream": "send the reply as server-sent events",
    "stream_options": "with `include_usage` the last chunk has the usage, with `continuous_usage_stats` every chunk has it so far",
    "n": "outputs of this turn; each is recorded",
    "seed": "engines of `rollout.engine_server` draw the same tokens for the same seed, prompt and policy; others get it as it is",
    "stop": "up to 64 texts at which the shown text ends; the recorded ids are whole",
    "max_tokens": "most tokens to sample; the older name",
    "temperature": "of the sampler",
    "top_p": "of the sampler; flags the output as narrowed",
    "top_k": "of the sampler; flags the output as narrowed",
    "min_p": "of the sampler; flags the output as narrowed",
    "frequency_penalty": "flags the output as penalized",
    "presence_penalty": "flags the output as penalized",
    "repetition_penalty": "flags the output as penalized",
    "logit_bias": "by token id; flags the output as penalized",
    "min_tokens": "sample at least this many",
    "stop_token_ids": "further tokens that end the output",
    "ignore_eos": "go on after an end token",
    "regex": "a grammar for the output; flags it as constrained",
    "ebnf": "a grammar for the output; flags it as constrained",
    "return_token_ids": "show the prompt's and the output's token ids",
    "metadata": "`episode_id` in it names the episode; `session_id` is the runtime's own id of a session",
    "session_id": "the runtime's own id of a session",
}
MEANINGS: Mapping[str, str] = SAMPLING | {
    "messages": "the conversation, as OpenAI defines it: system, developer, user, assistant, tool; `data:` images where the model sees",
    "logprobs": "show the logprob of each sampled token",
    "top_logprobs": "and of the likeliest others",
    "max_completion_tokens": "the same; it wins over `max_tokens`",
    "tools": "functions that the model may call",
    "tool_choice": "`none`, `auto`, `required`, or one of the functions",
    "functions": "an older form of `tools`",
    "function_call": "an older form of `tool_choice`",
    "parallel_tool_calls": "`false`: at most one call in a turn",
    "response_format": "`text`, `json_object` or `json_schema`; the last two are grammars",
    "reasoning_effort": "given to the chat template",
    "chat_template_kwargs": "given to the chat template",
    "continue_final_message": "the last message is the beginning of the output (a prefill)",
    "prompt_cache_key": "of known clients, the same in all calls of a session",
}
