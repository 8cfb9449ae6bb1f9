"""The Learner door: a table of bigram logits in plain torch trains in the place of Megatron-Core."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from math import inf, isfinite
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.trainer.bandit import VOCABULARY, is_even, success, weights
from tests.trainer.stand import GROUPS, Place, Stand
from trainer.learner.errors import ModelNotSupported
from trainer.learner.microbatch import Microbatch, TrainBatch
from trainer.learner.optimizer import OptimizerSettings
from trainer.learner.optimizer_step import PolicyLoss, StepMetrics, ValueLoss

WITHOUT_CRITIC = ModelNotSupported("a table of bigrams has no critic; choose an algorithm without")


class BigramLearner:
    """logprob(token) = log softmax(table[the token before])[token], in one process and without a critic."""

    lora = None
    data_parallel = 1
    min_tree_saving = inf
    is_primary = True
    num_trained = VOCABULARY**2

    def __init__(
        self,
        model_dir: Path,
        optimizer: OptimizerSettings,
        critic: OptimizerSettings | None = None,
        **_: object,
    ) -> None:
        if critic is not None:
            raise WITHOUT_CRITIC
        self.base_dir, self.steps = model_dir, 0
        saved = load_file(model_dir / "model.safetensors")
        table = saved.get("bigrams", torch.zeros(VOCABULARY, VOCABULARY))
        self._table = table.requires_grad_()
        self._optimizer = torch.optim.Adam([self._table], 100 * optimizer.learning_rate)

    @torch.no_grad()
    def logprobs(self, batch: TrainBatch) -> list[Tensor]:
        return [self._measured(part)[0] for part in batch.microbatches]

    def step(self, batch: TrainBatch, loss: PolicyLoss) -> StepMetrics:
        self._optimizer.zero_grad()
        total, sums, maxima = 0.0, Counter[str](), {"importance_weight_max": 0.0}
        for part in batch.microbatches:
            value, reported = loss(*self._measured(part), part)
            value.backward()  # type: ignore[no-untyped-call]
            total += value.item()
            numbers = {name: tensor.item() for name, tensor in reported.items()}
            maxima = {name: max(most, numbers.pop(name)) for name, most in maxima.items()}
            sums.update(numbers)
        norm = 0.0 if self._table.grad is None else self._table.grad.norm().item()
        if is_finite := isfinite(total + norm):
            self._optimizer.step()
            self.steps += 1
        return StepMetrics(total, norm, self._rate, not is_finite, sums, maxima)

    def export(self) -> Iterator[tuple[str, Tensor]]:
        yield "bigrams", self._table.detach().clone()

    def export_adapters(self) -> Iterator[tuple[str, Tensor]]:
        return iter(())

    def begin_save(self, path: Path, state: Mapping[str, object]) -> Future[None]:
        partial = path.with_suffix(".partial")
        partial.mkdir(parents=True)
        (partial / "state.json").write_text(json.dumps(state))
        own = {"table": self._table, "optimizer": self._optimizer.state_dict(), "steps": self.steps}
        torch.save(own, partial / "learner.pt")
        partial.rename(path)
        written: Future[None] = Future()
        written.set_result(None)
        return written

    def load(self, path: Path) -> dict[str, object]:
        own = torch.load(path / "learner.pt")
        with torch.no_grad():
            self._table.copy_(own["table"])
        self._optimizer.load_state_dict(own["optimizer"])
        self.steps = own["steps"]
        state: dict[str, object] = json.loads((path / "state.json").read_text())
        return state

    def close(self) -> None:
        pass

    def values(self, batch: TrainBatch) -> list[Tensor]:
        raise WITHOUT_CRITIC

    def step_critic(self, batch: TrainBatch, loss: ValueLoss) -> StepMetrics:
        raise WITHOUT_CRITIC

    def freeze(self, model_dir: Path) -> "BigramLearner":
        return BigramLearner(model_dir, OptimizerSettings(0.0))

    @property
    def _rate(self) -> float:
        return float(self._optimizer.param_groups[0]["lr"])

    def _measured(self, part: Microbatch) -> tuple[Tensor, Tensor]:
        """Logprobs and entropies [T], 0 where nothing was sampled."""
        actions = part.action_mask.nonzero().squeeze(1)
        before, ids = part.tokens[part.predecessors[actions]], part.tokens[actions]
        rows = torch.log_softmax(self._table[before], dim=-1)
        logprobs, entropies = rows.gather(1, ids[:, None])[:, 0], -(rows.exp() * rows).sum(dim=1)
        zeros = torch.zeros(part.num_tokens)
        return zeros.index_put((actions,), logprobs), zeros.index_put((actions,), entropies)


@pytest.fixture
def place(redis_url: str, model_dir: Path, tmp_path: Path) -> Place:
    return Place(redis_url, tmp_path, model_dir, create_learner=BigramLearner)


def evenness(token: int) -> float:
    return float(is_even(token))


def test_the_loop_trains_publishes_and_acknowledges_with_a_toy_learner(place: Place) -> None:
    """Rewarded tokens become likelier, each batch is acknowledged, and the served policy holds the toy's weights."""
    with Stand(place, evenness) as stand:
        before = success(stand.learner)
        stand.train(rounds=8)
        assert success(stand.learner) > before + 0.2
        totals = stand.bridge.call(stand.store.totals)
        assert totals.trained == totals.opened == 8 * GROUPS * stand.bandit.group_size
        served = stand.bridge.call(stand.store.policy)
        assert served is not None
        assert served.version == 8
        saved = load_file(Path(served.path) / "model.safetensors")
        assert torch.equal(saved["bigrams"], weights(stand.learner)["bigrams"])


def test_an_algorithm_with_a_critic_is_refused_before_anything_is_trained(place: Place) -> None:
    """A learner without a critic says so when it is made, and its policy stays as it was."""
    with pytest.raises(ModelNotSupported, match="has no critic"):
        BigramLearner(place.model_dir, OptimizerSettings(1e-3), critic=OptimizerSettings(1e-3))


def test_a_toy_learner_continues_from_its_checkpoint(place: Place) -> None:
    """After a crash the next trainer holds the weights of the last checkpoint and queues again what it has not seen."""
    with Stand(place, evenness) as stand:
        stand.train(rounds=5)
        checkpointed = weights(stand.learner)["bigrams"]
        stand.train(rounds=2)
    with Stand(place, evenness) as stand:
        assert stand.learner.steps == 5
        assert torch.equal(weights(stand.learner)["bigrams"], checkpointed)
        assert stand.bridge.call(stand.store.totals).groups["ready"] == 2 * GROUPS
