"""The starter's tokenizer: a byte-level BPE whose pieces are the task's own words, trained from demonstrations.

The pre-tokenizer keeps the JSON around a tool call's argument in one piece, so that a price call is six tokens instead of
about twenty, and splits everything else so that a digit or an item is the same token wherever it stands.
"""

from collections.abc import Iterable
from itertools import islice

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from clients.examples.shop_clerk.shop import ITEMS, TOOLS
from deploy.demo.starter.demonstrations import clean_chat
from deploy.demo.task import training_tasks

PADDING, START_OF_TURN, END_OF_TURN = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
TOOL_CALL = ("<tool_call>", "</tool_call>")
PIECES = (
    r'\n?\{"name": "[a-z_]+", "arguments": \{"[a-z_]+": "|"\}\}\n?'
    r"|\d|[A-Za-z]+|[^\sA-Za-z\d]|\s"
)


def train_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2048,  # never reached: the corpus runs out of pieces to merge
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[PADDING, START_OF_TURN, END_OF_TURN],
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    # Not special: a special token would be left out of the text in which the gateway looks for tool calls.
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in TOOL_CALL])
    return tokenizer


def corpus() -> Iterable[str]:
    """The texts of 1,500 clean chats, without the tokens added to the vocabulary by name."""
    yield "system Tools: " + ", ".join(tool["function"]["name"] for tool in TOOLS)
    yield " ".join([*ITEMS, "user", "assistant", "tool", "expression", "unknown item", "error"])
    for task in islice(training_tasks("vocabulary"), 1500):
        for message in clean_chat(task)["messages"]:
            yield message.get("content") or ""
            for call in message.get("tool_calls", []):
                function = call["function"]
                yield f'\n{{"name": "{function["name"]}", "arguments": {function["arguments"]}}}\n'
