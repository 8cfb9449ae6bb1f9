"""Trial calls of what a plug-in defines, before any weight is touched: three tokens of one row, two episodes of one group."""

import torch
from torch import Tensor

from trainer.algorithms.entry import Entry, call
from trainer.algorithms.loss.record import STEP_COLUMNS, PolicyLoss
from trainer.algorithms.rewards import EPISODES, EpisodeFilter

NUM_TOKENS, NUM_EPISODES = 3, 2


def try_out(entry: Entry) -> None:
    """Raise what the formula raises, or TypeError if its result cannot be trained with."""
    inputs = _inputs() | {setting.fills: setting.default for setting in entry.settings}
    result = call(entry.formula, inputs)
    is_of_episodes = bool(EPISODES & entry.inputs)
    shape = (NUM_EPISODES if is_of_episodes else NUM_TOKENS,)
    if not isinstance(result, Tensor) or result.shape != shape:
        what = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
        unit = "episode" if is_of_episodes else "token"
        raise TypeError(f"{entry.name} gives {what}, not a tensor with one value per {unit}")
    if isinstance(entry, EpisodeFilter) and result.dtype != torch.bool:
        raise TypeError(f"{entry.name} gives {result.dtype}, not torch.bool")
    if isinstance(entry, PolicyLoss):
        if not result.requires_grad:
            raise TypeError(f"{entry.name} has no gradient: it must depend on current_logprobs")
        _try_out_masks(entry, inputs)


def _try_out_masks(loss: PolicyLoss, inputs: dict[str, object]) -> None:
    if loss.bounds is not None:
        call(loss.bounds, inputs)
    if loss.step_mask is not None:
        of_step = {"current_logprobs", *STEP_COLUMNS, *(s.fills for s in loss.settings)}
        kept = call(loss.step_mask, {name: inputs[name] for name in inputs.keys() & of_step})
        if not isinstance(kept, Tensor) or kept.dtype != torch.bool or kept.shape != (NUM_TOKENS,):
            raise TypeError(f"step_mask of {loss.name} must give one bool per token")


def _inputs() -> dict[str, object]:
    logprobs = torch.tensor([-1.0, -2.0, -0.5])
    every = torch.ones(NUM_TOKENS, dtype=torch.bool)
    return {
        "current_logprobs": logprobs.clone().requires_grad_(),
        "proximal_logprobs": logprobs - 0.1,
        "behavior_logprobs": logprobs + 0.1,
        "advantages": torch.tensor([1.0, -1.0, 0.5]),
        "action_mask": every,
        "kept": every,
        "cu_seqlens": torch.tensor([0, NUM_TOKENS], dtype=torch.int32),
        "clip_low": 0.2,
        "clip_high": 0.2,
        "dual_clip": 0.0,
        "low": 0.5,
        "high": 2.0,
        "rewards": torch.tensor([0.0, 1.0], dtype=torch.float64),
        "lengths": torch.tensor([1, 2]),
        "groups": torch.tensor([0, 0]),
        "truncated": torch.tensor([False, True]),
    }
