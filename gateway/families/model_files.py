"""What the gateway reads of a model: its tokenizer, its chat template, and how it sees images."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Self

from rollout.chat_template.chat_template import ChatTemplate
from rollout.tokenizer.tokenizer import Tokenizer
from rollout.tokenizer.vision import Vision


class ModelFiles(NamedTuple):
    """Nothing in it changes, so gateways of one process may share it."""

    tokenizer: Tokenizer
    template: ChatTemplate
    vision: Vision | None  # None for a model that reads text only

    @classmethod
    def read(cls, model_dir: Path) -> Self:
        """Read the files of a model directory and check them against each other."""
        tokenizer = Tokenizer.load(model_dir)
        return cls(tokenizer, ChatTemplate.load(model_dir, tokenizer), Vision.load(model_dir))


ReadModel = Callable[[Path], ModelFiles]
