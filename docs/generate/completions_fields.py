"""What each field of a text completion's body means; `tests/test_manual.py` compares the names with the code."""

from collections.abc import Mapping

from docs.generate import chat_fields

MEANINGS: Mapping[str, str] = chat_fields.SAMPLING | {
    "prompt": "text or token ids, read as they are; a list of one such prompt is that prompt, several are a 400",
    "max_tokens": "most tokens to sample; 16 if it is left out, as in OpenAI's reference",
    "echo": "show a prompt of text before the output",
    "suffix": "refused",
    "logprobs": "show the logprob of each sampled token, and this many of the likeliest others",
    "best_of": "refused if it is more than `n`",
}
