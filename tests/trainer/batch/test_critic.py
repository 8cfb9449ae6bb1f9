"""PPO with a critic: what the critic learns from a batch, when the policy may listen, and what becomes of the episodes."""

import statistics
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rollout.episode.group import Claim
from tests.trainer.bandit import is_even, published, success, value, weights
from tests.trainer.composition.test_findings import settings_of
from tests.trainer.composition.test_presets import by_token
from tests.trainer.papers import Game, Values, estimated
from tests.trainer.plays import PLAYS, claims, prepared
from tests.trainer.stand import GROUPS, Place, Stand
from trainer.batch.batch import Batch
from trainer.batch.credit import critic_credit
from trainer.composition.composition import Composition
from trainer.composition.presets import PRESETS
from trainer.learner.microbatch import Microbatch, TrainBatch
from trainer.learner.optimizer import OptimizerSettings
from trainer.learner_settings import critic, optimizer
from trainer.megatron.learner import MegatronLearner
from trainer.objective.measure import measure, with_values
from trainer.objective.objective import Objective
from trainer.objective.steps import take_steps
from trainer.objective.value_objective import ValueObjective, explained_variance

# Without the KL, whose reference the stand has not.
PPO = PRESETS["ppo"].parts.model_copy(update={"kl_in_reward": 0.0, "critic_learning_rate": 5e-3})


def critic_value(token: int) -> float:
    """A critic that is wrong about every token in another way."""
    return 0.1 * (token % 7) - 0.2


def asked(parts: Composition, token_budget: int) -> Batch:
    """The plays, with what that critic says of them."""
    batch = prepared(parts, token_budget)
    values = [
        torch.tensor([critic_value(int(token)) for token in part.tokens]).where(
            part.action_mask, 0.0
        )
        for part in batch.train.microbatches
    ]
    return with_values(batch, values, parts)


def wanted(parts: Composition) -> Values:
    """The returns of every token, as they are defined."""
    game = Game(PLAYS, behavior={}, proximal={}, reference={}, values={})
    game.values.update({token: critic_value(token) for token in game.tokens})
    nothing = dict.fromkeys(game.tokens, 0.0)
    advantages = estimated(
        game, nothing, discount=parts.discount, of_length=lambda _: parts.lambda_critic
    )
    return {token: advantages[token] + critic_value(token) for token in game.tokens}


@pytest.mark.parametrize("token_budget", [8, 999])
@pytest.mark.parametrize(("clip", "moved"), [(0.2, 0.05), (0.2, 0.3), (0.0, 0.3)])
def test_the_critics_loss_is_that_of_the_paper(
    token_budget: int, clip: float, moved: float
) -> None:
    """Half the squared distance to the return of its own lambda, clipped around the value before; loss and gradient, by token."""
    parts = PPO.model_copy(update={"lambda_critic": 0.9, "discount": 0.97, "value_clip": clip})
    returns = wanted(parts)
    loss, expected = 0.0, 0.0
    for part in asked(parts, token_budget).train.microbatches:
        assert part.values is not None
        current = (part.values + moved).double().requires_grad_()
        own, _ = ValueObjective(parts)(current, part)
        (gradient,) = torch.autograd.grad(own, current)
        loss += own.item()
        for token, found, mask in zip(part.tokens, gradient, part.action_mask, strict=True):
            if mask:
                token_loss, slope = paper_loss(int(token), returns, moved=moved, clip=clip)
                expected += token_loss / len(returns)
                assert float(found) == pytest.approx(slope / len(returns), abs=1e-8)
    assert loss == pytest.approx(expected, rel=1e-6)


def paper_loss(token: int, returns: Values, *, moved: float, clip: float) -> tuple[float, float]:
    """(loss, its slope) of the worse of the plain and the clipped value."""
    plain = critic_value(token) + moved - returns[token]
    clipped = critic_value(token) + (min(moved, clip) if clip else moved) - returns[token]
    is_held = clip > 0 and moved > clip and clipped**2 > plain**2
    return max(plain**2, clipped**2) / 2, 0.0 if is_held else plain


def test_explained_variance_is_over_the_tokens_of_the_batch() -> None:
    """1 - Var(R - V) / Var(R), whatever the microbatches, and 1 for a critic that knew."""
    returns = wanted(PPO)
    sums: dict[str, float] = {}
    for part in asked(PPO, token_budget=8).train.microbatches:
        assert part.values is not None
        _, own = ValueObjective(PPO)(part.values, part)
        sums = {name: sums.get(name, 0.0) + float(value) for name, value in own.items()}
    errors = [returns[token] - critic_value(token) for token in returns]
    unexplained = statistics.pvariance(errors) / statistics.pvariance(returns.values())
    assert sums["tokens"] == len(returns)
    assert explained_variance(sums) == pytest.approx(1 - unexplained, rel=1e-5)
    assert explained_variance(sums | {"errors": 0.0, "errors_squared": 0.0}) == 1


def test_a_batch_of_equal_rewards_teaches_a_critic() -> None:
    """It waits for values with all its rows, where without a critic it would be let go."""
    batch = prepared(PPO)
    assert batch.has_signal
    assert {branch.row for bin_ in batch.bins for branch in bin_} == set(range(len(batch.rows)))
    assert not any(row.has_signal for row in batch.rows)
    after = asked(PPO, token_budget=16)
    assert not after.awaits_values
    assert after.zero_advantage_fraction == 0


@pytest.fixture
def learner(model_dir: Path) -> Iterator[MegatronLearner]:
    with MegatronLearner.create(
        model_dir, OptimizerSettings(1e-3), critic=OptimizerSettings(1e-3)
    ) as learner:
        yield learner


def of_claims(some: list[Claim]) -> set[str]:
    return {claim.group_id for claim in some}


def test_a_critic_that_is_not_finite_holds_its_minibatch_back(learner: MegatronLearner) -> None:
    """Neither it nor the policy moves by those groups, which are given back; the other minibatch trains."""
    parts = PPO.model_copy(update={"minibatches": 2})
    batch = measure(prepared(parts), learner, parts, reference=None)
    broken, whole = batch.minibatches

    def spoiled(number: int, part: Microbatch) -> torch.Tensor:
        assert part.returns is not None
        return part.returns * torch.nan if number < broken.end else part.returns

    returns = [spoiled(number, part) for number, part in enumerate(batch.train.microbatches)]
    batch = replace(batch, train=batch.train.replace("returns", returns))
    steps = take_steps(batch, learner, Objective(parts))
    trained, untrained = steps.parted(claims(PLAYS))
    assert (len(steps.critic), len(steps.policy), len(steps.skipped)) == (2, 1, 1)
    assert learner.steps == 1
    assert of_claims(untrained) == {f"grp-{group}" for group in broken.groups}
    assert of_claims(trained) == {f"grp-{group}" for group in whole.groups}


def test_what_a_limit_cut_ends_in_what_the_critic_expects(learner: MegatronLearner) -> None:
    """With lambda 0 a path's last return is its reward and the value after it, or 0 after it if the setting says so or nothing was cut."""
    learner.step_critic(asked(PPO, 16).train, ValueObjective(PPO))  # so that values differ
    parts = PPO.model_copy(update={"lambda_critic": 0.0, "discount": 0.9})
    whole = prepared(parts)
    cut = replace(
        whole,
        credit_inputs=replace(
            whole.credit_inputs, path_cuts=whole.credit_inputs.path_episodes == 3
        ),
    )
    last, before = PLAYS[3].outputs["b"][-1], PLAYS[4].outputs["a"][-1]

    def returns(batch: Batch, parts: Composition) -> Values:
        train = measure(batch, learner, parts, reference=None).train
        return by_token(
            train, [part.returns for part in train.microbatches if part.returns is not None]
        )

    everything = whole.train.microbatches
    after = by_token(
        whole.train,
        learner.values(TrainBatch(tuple(part.after(part.action_mask) for part in everything))),
    )
    assert after[last] != 0
    assert returns(cut, parts)[last] == pytest.approx(2.0 + 0.9 * after[last], abs=1e-6)
    assert returns(cut, parts)[before] == -1.0
    assert returns(whole, parts)[last] == 2.0
    assert returns(cut, parts.model_copy(update={"at_limit": "end"}))[last] == 2.0


@pytest.mark.parametrize("lam", [0.0, 0.7, 1.0])
def test_gae_starts_from_what_is_behind_a_cut(lam: float) -> None:
    """On every path alike, also where two share a beginning."""
    parts = PPO.model_copy(update={"lambda_policy": lam, "whitening": "none"})
    batch = prepared(parts)
    game = Game(PLAYS, behavior={}, proximal={}, reference={}, values={})
    game.values.update({token: critic_value(token) for token in game.tokens})
    tokens = batch.of_tokens([part.tokens.float() for part in batch.train.microbatches])
    values, after = (
        torch.tensor([of(int(t)) for t in tokens], dtype=torch.float64)
        for of in (critic_value, beyond)
    )
    inputs = replace(batch.credit_inputs, path_cuts=torch.ones_like(batch.credit_inputs.path_cuts))
    advantages, _ = critic_credit(inputs, parts, values, values_after=after)
    expected = estimated(
        game,
        dict.fromkeys(game.tokens, 0.0),
        of_length=lambda _: lam,
        after={token: beyond(token) for token in game.tokens},
    )
    found = {int(t): float(a) for t, a in zip(tokens, advantages, strict=True)}
    assert found == pytest.approx(expected, rel=1e-9)


def test_a_path_that_is_left_out_does_not_count_in_what_it_shares() -> None:
    """Values along a row that does not train are not measured, so what it shares is estimated along the other paths alone."""
    parts = PPO.model_copy(update={"lambda_policy": 0.5, "whitening": "none"})
    batch = prepared(parts)
    tokens = batch.of_tokens([part.tokens.float() for part in batch.train.microbatches])
    is_left_out = (tokens == 116) | (tokens == 117)  # the episode's second row
    values = torch.tensor([critic_value(int(t)) for t in tokens], dtype=torch.float64)
    inputs = replace(batch.credit_inputs, trains=~is_left_out)
    advantages, returns = critic_credit(
        inputs, parts, values.masked_fill(is_left_out, 0.0), values_after=torch.zeros_like(values)
    )
    play = PLAYS[1]
    alone = replace(
        play,
        outputs={name: play.outputs[name] for name in ("a", "b")},
        paths=[["a", "b"]],
        rows=[["a", "b"]],
        earned={},
    )
    game = Game([alone], behavior={}, proximal={}, reference={}, values={})
    game.values.update({token: critic_value(token) for token in game.tokens})
    nothing = dict.fromkeys(game.tokens, 0.0)
    expected = estimated(game, nothing, of_length=lambda _: 0.5)
    found = {int(t): float(a) for t, a in zip(tokens, advantages, strict=True)}
    assert {t: found[t] for t in game.tokens} == pytest.approx(expected, rel=1e-9)
    assert not advantages[is_left_out].any()
    assert float(returns[tokens == 110]) == 0.0


def beyond(token: int) -> float:
    return 0.3 - 0.01 * token


@pytest.fixture
def place(redis_url: str, model_dir: Path, tmp_path: Path) -> Place:
    return Place(redis_url, tmp_path, model_dir, parts=PPO)


def test_the_critic_has_the_policys_optimizer_at_a_rate_of_its_own() -> None:
    """Settings of an algorithm without a critic make none."""
    settings = settings_of(
        "ppo", schedule="linear", decay_steps=9, weight_decay=0.1, critic_learning_rate=2e-3
    )
    assert critic(settings) == replace(optimizer(settings), learning_rate=2e-3)
    assert critic(settings_of("grpo")) is None


def test_the_bandit_is_learned_with_a_critic(place: Place) -> None:
    """Twelve batches raise success as without one, while the critic follows the mean reward of the only state there is."""
    with Stand(place, reward=lambda token: float(is_even(token))) as stand:
        before = success(stand.learner)
        stand.train(rounds=12)
        assert success(stand.learner) > before + 0.2
        assert abs(value(stand.learner) - success(stand.learner)) < before  # V began at 0
        assert stand.metric("turngate_training_critic_gradient_norm") > 0
        assert stand.metric("turngate_training_value_clip_fraction") == 0


def test_warm_up_moves_the_critic_alone(place: Place) -> None:
    """Five batches leave every weight of the policy bit-equal, each is a version that trained its episodes, once; a life later the
    policy moves with the sixth.
    """
    place.parts = PPO.model_copy(update={"critic_warmup": 5})
    with Stand(place, reward=lambda token: float(is_even(token))) as stand:
        before = weights(stand.learner)
        progress = stand.train(rounds=5)
        assert progress.version == stand.learner.steps == 5
        assert all(torch.equal(before[name], weight) for name, weight in stand.learner.export())
        fifth = load_file(
            place.weights_dir / published(place.weights_dir)[-1] / "model.safetensors"
        )
        assert all(torch.equal(before[name], weight) for name, weight in fifth.items())
        totals = stand.bridge.call(stand.store.totals)
        assert totals.trained == totals.opened == 5 * GROUPS * stand.bandit.group_size
        assert stand.metric("turngate_training_critic_loss") > 0
        assert stand.metric("turngate_training_steps_total") == 0
    with Stand(place, reward=lambda token: float(is_even(token))) as stand:
        assert (stand.progress.version, stand.learner.steps) == (5, 5)
        stand.train(rounds=1)
        after = weights(stand.learner)
        assert not all(torch.equal(before[name], after[name]) for name in before)
        assert stand.metric("turngate_training_steps_total") == 1
