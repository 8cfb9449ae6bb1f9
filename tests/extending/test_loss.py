"""The loss door: a formula with a setting and its record, in this one file and one entry of the registry, trains the real loop."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.trainer.bandit import is_even, success, weights
from tests.trainer.stand import Place, Stand
from trainer.algorithms.entry import Setting
from trainer.algorithms.loss.record import PolicyLoss
from trainer.algorithms.ratio import ratio
from trainer.composition.composition import Composition
from trainer.composition.registry import BUILT_IN, choosing_from


def pushed(
    current_logprobs: Tensor, proximal_logprobs: Tensor, *, advantages: Tensor, push: float
) -> Tensor:
    """Pushed: -push * A * rho."""
    return -push * advantages * ratio(current_logprobs, proximal_logprobs)


PUSHED = PolicyLoss(
    name="pushed",
    formula=pushed,
    settings=(Setting("push_strength", 1.0, "of the push", parameter="push", ge=0),),
)
WITH_PUSHED = choosing_from(BUILT_IN.adding("policy_loss", PUSHED))(Composition)


def rewarded(token: int) -> float:
    return float(is_even(token))


def test_a_loss_is_one_record(redis_url: str, model_dir: Path, tmp_path: Path) -> None:
    """Chosen by its name, it makes what is rewarded more likely."""
    parts = WITH_PUSHED.model_validate({"policy_loss": "pushed", "push_strength": 2.0})
    with Stand(Place(redis_url, tmp_path, model_dir, parts=parts), rewarded) as stand:
        before = success(stand.learner)
        stand.train(rounds=6)
        assert success(stand.learner) > before + 0.1


def test_its_setting_reaches_the_formula(redis_url: str, model_dir: Path, tmp_path: Path) -> None:
    """At strength 0 the step moves no weight."""
    parts = WITH_PUSHED.model_validate({"policy_loss": "pushed", "push_strength": 0.0})
    with Stand(Place(redis_url, tmp_path, model_dir, parts=parts), rewarded) as stand:
        before = weights(stand.learner)
        progress = stand.train(rounds=1)
        after = weights(stand.learner)
    assert progress.version == 1
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_its_setting_is_validated_and_read_by_it_alone() -> None:
    """The composition knows the setting's limits, and that another loss leaves it unread."""
    with pytest.raises(ValueError, match="push_strength"):
        WITH_PUSHED.model_validate({"policy_loss": "pushed", "push_strength": -1})
    assert WITH_PUSHED.model_validate({"policy_loss": "pushed"}).reads("push_strength")
    assert not WITH_PUSHED().reads("push_strength")
    with pytest.raises(ValueError, match="policy_loss"):
        Composition.model_validate({"policy_loss": "pushed"})
