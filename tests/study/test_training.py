"""The study trains as the trainer does, on episodes as a gateway records them, of exactly the age it says."""

from itertools import islice
from pathlib import Path

import pytest

from clients.examples.shop_clerk.shop import TOOLS
from deploy.demo.clerk.demonstrations import clean_chat
from deploy.demo.clerk.tasks import Task, training_tasks
from rollout.chat_template.chat_template import encode_chat
from rollout.episode.sequences import linearize
from tests.study.__main__ import publish
from tests.study.cells import ALGORITHMS, Recipe, Run
from tests.study.clerk import Clerk, Language
from tests.study.outcome import Outcomes
from tests.study.players import Players
from tests.study.training import aged, step, train, train_missing
from trainer.learner.optimizer import OptimizerSettings
from trainer.megatron.learner import MegatronLearner

RECIPE = Recipe(updates=2, groups=2, group_size=4, evaluate_every=1, held_out=4)


def odd(_: Task, answer: str) -> float:
    """A reward that a policy which knows nothing earns now and then."""
    return float(len(answer) % 2)


def test_a_study_of_two_updates_goes_from_runs_to_its_table_and_goes_on_where_it_stopped(
    model_dir: Path, tmp_path: Path
) -> None:
    """What has its line is not run again, and the table holds what was run."""
    outcomes = Outcomes(tmp_path / "runs.jsonl")
    run, other = Run("PPO", 0, 0), Run("IcePop", 64, 0)
    said = [train_missing(each, RECIPE, model_dir, outcomes) for each in (run, other, run)]
    publish(outcomes.of(RECIPE), RECIPE, tmp_path)
    assert said[2] == "PPO, staleness 0, seed 0: done elsewhere"
    assert outcomes.missing([run, other, Run("M2PO", 4, 1)], RECIPE) == [Run("M2PO", 4, 1)]
    assert outcomes.missing([run], Recipe()) == [run]
    assert "| PPO | 0.0 ± nan |" in (tmp_path / "README.md").read_text()
    assert "staleness 64" in (tmp_path / "staleness.svg").read_text()


def test_a_run_is_repeatable_and_on_policy_where_nothing_is_stale(model_dir: Path) -> None:
    """transformers samples with the logprobs that Megatron-Core computes, so that every ratio is 1."""
    run = Run("decoupled", 0, 3)
    first, second = (train(run, RECIPE, model_dir, odd) for _ in range(2))
    assert first.trained == 2
    assert first.effective_sample_size == pytest.approx(1, abs=1e-9)
    assert (first.success, first.effective_sample_size) == (
        second.success,
        second.effective_sample_size,
    )


def test_the_data_of_an_update_are_exactly_as_old_as_the_cell_says(model_dir: Path) -> None:
    """Update t trains on episodes of version max(0, t - staleness)."""
    recipe = Recipe(updates=4, groups=1, group_size=2, held_out=1)
    with MegatronLearner.create(model_dir, OptimizerSettings(1e-3)) as learner:
        players = Players(learner, model_dir, recipe, odd, seed=0)
        ages = []
        for update, claims in enumerate(aged(players, staleness=2)):
            ages.append([episode.header.min_version for episode in claims[0].episodes])
            step(learner, claims, ALGORITHMS["PPO"], version=update)
    assert ages == [[0, 0], [0, 0], [0, 0], [1, 1]]


def test_a_clerk_that_says_what_a_demonstration_says_records_its_tokens(model_dir: Path) -> None:
    """Prompts, tools' results and what was sampled are the token stream that the warm start imitates, with the same mask."""
    language = Language.of(model_dir)
    for task in islice(training_tasks("clerk"), 5):
        chat = clean_chat(task)
        ids, mask = encode_chat(language.template, language.tokenizer, chat["messages"], TOOLS)
        clerk = Clerk(task, language, Task.reward, name="ep", version=7)
        for token in ids[len(clerk.prompt) :]:
            if not clerk.is_done:
                assert clerk.step(token, -0.5) == token
        (row,) = linearize(clerk.episode.trie(), "ep")
        assert row.tokens.tolist() == ids[: len(row)]
        assert row.action_mask.tolist() == mask[: len(row)]
        assert set(row.versions[row.action_mask]) == {7}
        assert clerk.reward == 1
