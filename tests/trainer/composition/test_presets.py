"""Every preset on a real Megatron-Core model, against the papers in float64: one step, its loss, its gradient by token."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from deploy.demo.starter.starter import create_untrained
from tests.trainer.megatron.packing import squared_error
from tests.trainer.papers import DPPO_DELTA, PAPERS, Game, Paper, Values
from tests.trainer.plays import PLAYS, behavior, prepared
from tests.trainer.variants import VARIANTS
from trainer.batch.assembly import pack_rows
from trainer.composition.composition import Composition
from trainer.composition.presets import PRESETS, starting_point
from trainer.learner.learner import FrozenPolicy
from trainer.learner.microbatch import Microbatch, TrainBatch
from trainer.learner.optimizer import OptimizerSettings
from trainer.megatron.learner import MegatronLearner
from trainer.objective.measure import masked, measure
from trainer.objective.objective import Objective
from trainer.sft import assistant_loss

SETTINGS = {"dppo_tv": {"dppo_delta": DPPO_DELTA}}  # a bound that acts


@dataclass(frozen=True)
class Lab:
    learner: MegatronLearner
    reference: FrozenPolicy

    def logprobs(self, of: FrozenPolicy | None = None) -> Values:
        """Of every token of every play, under the learner's policy unless another is given."""
        return by_token(every_row(), (of or self.learner).logprobs(every_row()))

    def values(self) -> Values:
        """The critic's, of the same."""
        return by_token(every_row(), self.learner.values(every_row()))

    def step(self, parts: Composition) -> tuple[float, list["Seen"]]:
        """The loss of one optimizer step, and what the loss function saw and answered."""
        seen: list[Seen] = []

        def spied(
            current: Tensor, entropies: Tensor, part: Microbatch
        ) -> tuple[Tensor, dict[str, Tensor]]:
            loss, sums = Objective(parts)(current, entropies, part)
            (gradient,) = torch.autograd.grad(loss, current, retain_graph=True)
            seen.append(Seen(part, current.detach(), gradient))
            return loss, sums

        batch = measure(prepared(parts), self.learner, parts, reference=self.reference)
        metrics = self.learner.step(masked(batch.train, None, parts), spied)
        assert not metrics.skipped
        return metrics.loss, seen


@dataclass(frozen=True)
class Seen:
    part: Microbatch
    current: Tensor
    gradient: Tensor

    def in_float64(self, parts: Composition) -> Tensor:
        """The gradient once more, with every number of the microbatch in float64."""
        wide = {
            name: getattr(self.part, name).double()
            for name in ("advantages", "behavior_logprobs", "proximal_logprobs", "weights")
        }
        if self.part.reference_logprobs is not None:
            wide["reference_logprobs"] = self.part.reference_logprobs.double()
        current = self.current.double().requires_grad_()
        loss, _ = Objective(parts)(current, torch.zeros_like(current), self.part.replace(**wide))
        return torch.autograd.grad(loss, current)[0]


def every_row() -> TrainBatch:
    rows = prepared(Composition()).rows
    return pack_rows(rows, token_budget=999, parts=Composition(entropy_bonus=1.0))


def by_token(batch: TrainBatch, values: Sequence[Tensor]) -> Values:
    return {
        int(token): float(value)
        for part, whole in zip(batch.microbatches, values, strict=True)
        for token, value, mask in zip(part.tokens, whole, part.action_mask, strict=True)
        if mask
    }


def collected(seen: Sequence[Seen], of: Callable[[Seen], Tensor]) -> Values:
    return by_token(TrainBatch(tuple(s.part for s in seen)), [of(s) for s in seen])


@pytest.fixture(scope="module")
def lab(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    other = tmp_path_factory.mktemp("reference")
    create_untrained(other, seed=1)
    settings = OptimizerSettings(learning_rate=1e-6)
    with MegatronLearner.create(model_dir, settings, critic=OptimizerSettings(3e-2)) as learner:
        for _ in range(2):  # from zero, to values that differ
            learner.step_critic(every_row(), squared_error)
        yield Lab(learner, learner.freeze(other))


def test_every_preset_has_a_paper() -> None:
    """No name is left out of the comparison below."""
    assert PAPERS.keys() == PRESETS.keys()


@pytest.mark.parametrize("algorithm", PRESETS)
def test_a_step_goes_down_the_papers_gradient(lab: Lab, algorithm: str) -> None:
    """One real step: finite, the paper's loss, and for every token the paper's gradient, in float32 and to 1e-6 in float64."""
    changes = SETTINGS.get(algorithm, {})
    compare(lab, PRESETS[algorithm].parts.model_copy(update=changes), PAPERS[algorithm])


@pytest.mark.parametrize("name", VARIANTS)
def test_a_part_that_is_set_acts_as_in_its_paper(lab: Lab, name: str) -> None:
    """The same for every choice that no preset makes, each set on top of an algorithm."""
    algorithm, changes, paper = VARIANTS[name]
    parts = starting_point(algorithm, changes) | changes
    compare(lab, Composition.model_validate(parts), paper)


def compare(lab: Lab, parts: Composition, paper: Paper) -> None:
    """Loss and gradient of one step with those of the paper on the same logprobs."""
    measured, reference = lab.logprobs(), lab.logprobs(lab.reference)
    loss, seen = lab.step(parts)
    at = measured | collected(seen, lambda s: s.current)
    proximal = collected(seen, lambda s: s.part.proximal_logprobs)
    game = Game(
        PLAYS,
        behavior={token: torch.tensor(behavior(token)).item() for token in at},
        proximal=measured | proximal if parts.needs_proximal_pass else measured,
        reference=reference,
        values=lab.values(),
    )
    current = {t: torch.tensor(v, dtype=torch.float64, requires_grad=True) for t, v in at.items()}
    expected = paper(game, current)
    gradients = torch.autograd.grad(expected, list(current.values()), allow_unused=True)
    wanted = {t: 0.0 if g is None else float(g) for t, g in zip(current, gradients, strict=True)}
    found = dict.fromkeys(at, 0.0) | collected(seen, lambda s: s.gradient)
    wide = dict.fromkeys(at, 0.0) | collected(seen, lambda s: s.in_float64(parts))

    largest = max(abs(g) for g in wanted.values())
    assert largest > 0
    assert loss == pytest.approx(expected.item(), rel=1e-5, abs=1e-6)
    assert wide == pytest.approx(wanted, rel=1e-6, abs=1e-7 * largest)
    assert found == pytest.approx(wanted, rel=2e-5, abs=1e-6 * largest)


def test_imitating_every_episode_is_supervised_learning() -> None:
    """A threshold below all rewards makes rft the loss of the supervised warm start, value and gradient."""
    parts = PRESETS["rft"].parts.model_copy(update={"acceptance_threshold": -10.0})
    (part,) = prepared(parts, token_budget=999).train.microbatches
    everywhere = part.replace(advantages=part.action_mask.float())
    current = part.behavior_logprobs.clone().requires_grad_()
    loss, _ = Objective(parts)(current, torch.zeros_like(current), part)
    expected, _ = assistant_loss(current, torch.zeros_like(current), everywhere)

    assert loss.item() == pytest.approx(expected.item())
    gradients = [torch.autograd.grad(value, current)[0] for value in (loss, expected)]
    torch.testing.assert_close(*gradients)
    assert gradients[0].count_nonzero() == part.action_mask.sum()


def test_an_entropy_bonus_is_taken_under_the_same_weights() -> None:
    """The loss falls by c times the weighted entropies, and its gradient by c times the weights."""
    (part,) = prepared(Composition(), token_budget=999).train.microbatches
    entropies = torch.linspace(1, 2, part.num_tokens, requires_grad=True)
    plain, _ = Objective(Composition())(part.behavior_logprobs, entropies, part)
    loss, _ = Objective(Composition(entropy_bonus=0.1))(part.behavior_logprobs, entropies, part)

    (gradient,) = torch.autograd.grad(loss, entropies)
    assert (loss - plain).item() == pytest.approx(-0.1 * (part.weights * entropies).sum().item())
    torch.testing.assert_close(gradient, -0.1 * part.weights)
