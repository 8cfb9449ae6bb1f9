"""Samples for many speakers at once, with transformers: a token of each per forward pass.

A speaker whose tool has answered is given tokens to read; it takes those one by one while the others sample. So all rows of the
batch are equally long at any time, and whoever is done leaves it.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache


class Speaker(Protocol):
    """One conversation, seen from the model."""

    @property
    def prompt(self) -> Sequence[int]: ...
    @property
    def is_done(self) -> bool: ...

    def step(self, sampled: int, logprob: float) -> int:
        """The token that stands next: the one just sampled, unless others are still to be read."""
        ...


class Sampler:
    """A policy of a directory's architecture that speaks, once it is loaded: at temperature 1, from the whole distribution."""

    def __init__(self, model_dir: Path) -> None:
        config = AutoConfig.from_pretrained(model_dir)
        self._model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()

    def load(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Speak as this policy, given as the learner exports it."""
        missing, unexpected = self._model.load_state_dict(dict(weights), strict=False)
        assert not unexpected, unexpected
        assert set(missing) <= {"lm_head.weight"}, missing  # tied to the embeddings

    @torch.inference_mode()
    def play(self, speakers: Sequence[Speaker], random: torch.Generator) -> None:
        """Until all are done."""
        speaking = list(speakers)
        tokens, mask = _left_padded([speaker.prompt for speaker in speaking])
        places = (mask.cumsum(1) - 1).clamp(min=0)
        cache = DynamicCache(config=self._model.config)
        while True:
            output = self._model(
                input_ids=tokens,
                attention_mask=mask,
                position_ids=places,
                past_key_values=cache,
                logits_to_keep=1,
            )
            tokens = _advance(speaking, output.logits[:, -1], random)
            rows = [row for row, speaker in enumerate(speaking) if not speaker.is_done]
            if not rows:
                return
            if len(rows) < len(speaking):
                kept = torch.tensor(rows)
                cache.batch_select_indices(kept)
                tokens, mask, places = tokens[kept], mask[kept], places[kept]
                speaking = [speaking[row] for row in rows]
            mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
            places = places[:, -1:] + 1


def _advance(speaking: Sequence[Speaker], logits: Tensor, random: torch.Generator) -> Tensor:
    """Sample for everyone; what each reads next, `[B, 1]`."""
    logprobs = torch.log_softmax(logits, dim=-1)
    sampled = torch.multinomial(logprobs.exp(), 1, generator=random)
    chosen = logprobs.gather(1, sampled)
    following = [
        speaker.step(token, logprob)
        for speaker, token, logprob in zip(
            speaking, sampled[:, 0].tolist(), chosen[:, 0].tolist(), strict=True
        )
    ]
    return torch.tensor(following)[:, None]


def _left_padded(prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Ids and mask `[B, T]`, the prompts' ends above each other."""
    width = max(map(len, prompts))
    tokens = torch.zeros(len(prompts), width, dtype=torch.long)
    mask = torch.zeros(len(prompts), width, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        tokens[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    return tokens, mask
