"""The starter's tokenizer: a byte-level BPE whose pieces are the words of the demo's subject, trained from demonstrations.

The pre-tokenizer keeps the JSON around a tool call's argument in one piece, so that a price call is six tokens instead of
about twenty, and leaves the subject to say what else is one token wherever it stands.
"""

from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

PADDING, START_OF_TURN, END_OF_TURN = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
TOOL_CALL = ("<tool_call>", "</tool_call>")
CALL = r'\n?\{"name": "[a-z_]+", "arguments": \{"[a-z_]+": "|"\}\}\n?'
OTHER = r"[^\sA-Za-z\d]|\s"


def train_tokenizer(texts: Iterable[str], *, pieces: str) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(f"{CALL}|{pieces}|{OTHER}"), behavior="isolated"),
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
    tokenizer.train_from_iterator(texts, trainer)
    # Not special: a special token would be left out of the text in which the gateway looks for tool calls.
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in TOOL_CALL])
    return tokenizer
