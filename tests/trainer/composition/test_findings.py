"""Which setups are refused, which are warned of, and with what remedy."""

import logging
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rollout.settings import SettingsError
from trainer.advice.rules.findings import RULES, findings, vetted
from trainer.advice.rules.setup import Setup
from trainer.composition.composition import Composition
from trainer.composition.presets import PRESETS, origins
from trainer.settings import Settings

TABLE: list[tuple[str, str, dict[str, Any]]] = [
    # rule, algorithm, settings
    ("equal_rewards", "grpo", {"reward_low": 1, "reward_high": 1}),
    ("equal_rewards", "grpo", {"reward_scale": 0}),
    ("nothing_to_reject", "rft", {"reward_high": 1.0, "acceptance_threshold": 1.0}),
    ("nothing_to_reject", "rft", {"reward_low": 0.5}),
    ("dynamic_sampling_of_one", "dapo", {"group_size": 1}),
    ("whitened_away", "reinforce", {"whitening": "tokens", "group_size": 1, "groups_per_batch": 1}),
    ("weight_counted_twice", "grpo", {"correction": "tis"}),
    ("weight_counted_twice", "m2po", {"correction": "icepop", "proximal": "recompute"}),
    ("minibatch_without_group", "grpo", {"minibatches": 4, "groups_per_batch": 3}),
    ("epochs_without_bound", "reinforce", {"epochs": 2}),
    ("kl_twice", "rloo", {"kl_in_loss": 0.1}),
    ("k1_in_loss", "grpo", {"kl_estimator": "k1"}),
    ("overlong_without_length", "dapo", {"overlong_length": 0}),
    ("overlong_cache_outside_length", "dapo", {"overlong_length": 100, "overlong_cache": 200}),
    ("overlong_cache_outside_length", "dapo", {"overlong_cache": 0}),
    ("drgrpo_without_budget", "grpo", {"aggregation": "drgrpo"}),
    ("dual_clip_of_one", "grpo", {"dual_clip": 0.9}),
    ("turns_without_group", "grpo", {"turn_credit": "turn_discount"}),
    ("gspo_of_varying_advantages", "gspo", {"turn_credit": "gigpo"}),
    ("groups_of_one", "grpo", {"group_size": 1}),
    ("states_of_one_episode", "gigpo", {"group_size": 1}),
    ("scale_without_effect", "grpo", {"reward_scale": 10}),
    ("divided_twice", "grpo", {"whitening": "tokens"}),
    ("clip_set_without_effect", "decoupled", {"clip_high": 0.4}),
    ("clip_without_effect", "decoupled", {}),
    ("clip_too_wide", "grpo", {"clip_high": 100}),
    ("clip_too_wide", "cispo", {"ratio_max": 1000}),
    ("gspo_with_token_bounds", "gspo", {"clip_low": 0.2, "clip_high": 0.2}),
    ("tokens_with_gspo_bounds", "grpo", {"clip_low": 3e-4, "clip_high": 4e-4}),
    (
        "geometric_with_token_bounds",
        "decoupled",
        {"correction": "geo_mask", "correction_high": 5.0},
    ),
    ("stale_tokens_uncorrected", "reinforce", {}),
    ("stale_tokens_uncorrected", "grpo", {"proximal": "recompute"}),
    ("stale_tokens_uncorrected", "grpo", {"proximal": "log_linear"}),
    (
        "nothing_to_interpolate",
        "grpo",
        {"proximal": "log_linear", "correction": "tis", "max_staleness": 0},
    ),
    ("max_rl_below_zero", "max_rl", {"reward_low": -1}),
    ("max_rl_below_zero", "max_rl", {"kl_in_reward": 0.1}),
    ("dynamic_sampling_of_none", "dapo", {"dynamic_sampling": 0.05}),
    ("dynamic_sampling_of_what_teaches", "rft", {"dynamic_sampling": 4.0}),
    ("dynamic_sampling_of_what_teaches", "ppo", {"dynamic_sampling": 4.0}),
    ("priority_without_choice", "grpo", {"batch_order": "priority"}),
    ("imitation_whitened", "rft", {"whitening": "tokens"}),
    ("nothing_below_zero", "rft", {"opsm_delta": 0.1}),
    ("nothing_below_zero", "grpo", {"advantage": "best_of_group", "dual_clip": 3.0}),
    ("states_without_weight", "gigpo", {"gigpo_weight": 0}),
    ("entropy_punished", "grpo", {"entropy_bonus": -0.01}),
    ("reference_unread", "dapo", {"reference_dir": Path("/policies/first")}),
    ("own_tokens_rejected", "decoupled", {"correction_low": 1.5}),
    ("own_tokens_rejected", "decoupled", {"correction": "seq_mis", "correction_high": 0.9}),
    ("cispo_below_one", "cispo", {"ratio_max": 0.2}),
    ("clip_too_wide", "dppo_tv", {"dppo_delta": 1.0}),
    ("clip_too_wide", "m2po", {"m2po_threshold": 4.0}),
    ("proximal_unread", "dppo_tv", {"proximal": "recompute"}),
    ("proximal_unread", "m2po", {"proximal": "log_linear"}),
    ("credit_beside_critic", "ppo", {"turn_credit": "gigpo"}),
    ("untrained_values", "ppo", {"lambda_policy": 0.95}),
    ("untrained_values", "ppo", {"lambda_alpha": 0.05}),
    ("value_clip_set_without_effect", "ppo", {"value_clip": 0.1}),
    ("set_but_unread", "grpo", {"critic_warmup": 10}),
    ("set_but_unread", "ppo", {"lambda_policy": 0.9, "lambda_alpha": 0.05}),
    ("set_but_unread", "grpo", {"ratio_max": 3}),
    ("set_but_unread", "cispo", {"clip_low": 0.1}),
]


def settings_of(algorithm: str, **values: Any) -> Settings:
    return Settings(
        TURNGATE_REDIS_URL="redis://127.0.0.1",
        TURNGATE_MODEL_DIR=Path("/nowhere"),
        algorithm=algorithm,
        **values,
    )


@pytest.mark.parametrize(("rule", "algorithm", "values"), TABLE)
def test_a_run_that_would_be_wasted_is_found(
    rule: str, algorithm: str, values: dict[str, Any]
) -> None:
    """The rule of the table applies to the setup beside it, and tells what to do."""
    found = {
        finding.rule: finding for finding in findings(Setup.of(settings_of(algorithm, **values)))
    }

    assert rule in found
    assert found[rule].remedy
    assert "{" not in found[rule].problem


def test_every_rule_is_in_the_table() -> None:
    """No rule is left without a setup that it applies to."""
    assert {rule.name for rule in RULES} == {rule for rule, _, _ in TABLE}


@pytest.mark.parametrize("algorithm", PRESETS)
def test_presets_are_sound(algorithm: str) -> None:
    """Of the algorithms as they are named, only those that need more than is here have an error or a warning."""
    known = {
        "reinforce": {"stale_tokens_uncorrected"},
        "rloo": {"stale_tokens_uncorrected"},
        "decoupled": {"clip_without_effect"},
    }

    found = {finding.rule for finding in findings(Setup.of(settings_of(algorithm)))}

    assert found == known.get(algorithm, set())


@pytest.mark.parametrize(
    ("rule", "algorithm", "values"),
    [
        # A negative scale turns costs into rewards.
        ("scale_without_effect", "grpo", {"reward_scale": -1}),
        ("clip_set_without_effect", "decoupled", {"minibatches": 2, "clip_high": 0.3}),
        ("clip_without_effect", "decoupled", {"epochs": 2}),
        ("epochs_without_bound", "rft", {"epochs": 3}),
        ("own_tokens_rejected", "decoupled", {"correction": "seq_tis"}),
        ("proximal_unread", "m2po", {"proximal": "recompute", "kl_in_reward": 0.1}),
        ("stale_tokens_uncorrected", "rloo", {"max_staleness": 0}),
        ("priority_without_choice", "grpo", {"batch_order": "priority", "buffer_groups": 16}),
    ],
)
def test_a_sound_setup_is_left_alone(rule: str, algorithm: str, values: dict[str, Any]) -> None:
    """A rule does not apply beside what it is about."""
    assert rule not in {
        found.rule for found in findings(Setup.of(settings_of(algorithm, **values)))
    }


def test_the_bound_of_corrected_flagged_tokens_is_read_without_a_correction() -> None:
    """Setting correction_high alone is not called useless: the weight of a flagged token is cut there."""
    found = findings(Setup.of(settings_of("grpo", correction_high=3.0)))

    assert "set_but_unread" not in {finding.rule for finding in found}


def test_an_error_stops_the_start_and_a_warning_does_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The one raises with problem and remedy before anything is touched, the other is logged."""
    with pytest.raises(SettingsError, match=r"algorithm ppo: .*gae.*; set turn_credit=episode"):
        vetted(settings_of("ppo", turn_credit="gigpo"))

    with caplog.at_level(logging.WARNING, "trainer"):
        parts = vetted(settings_of("reinforce"))

    assert parts == PRESETS["reinforce"].parts
    assert "stale_tokens_uncorrected" in {vars(record)["finding"] for record in caplog.records}


def test_a_setting_overrides_its_part_alone() -> None:
    """Every other part keeps the preset's value, and each says where it comes from."""
    parts = settings_of("dapo", clip_high=0.5).parts

    assert parts == PRESETS["dapo"].parts.model_copy(update={"clip_high": 0.5})
    came_from = origins("dapo", parts)
    assert came_from.pop("clip_high") == "set"
    assert set(came_from.values()) == {"dapo"}


def test_another_choice_brings_its_own_bounds() -> None:
    """Of a correction or a loss that is set, the bounds are its usual ones unless they are set too."""
    parts = settings_of("decoupled", correction="geo_mask", policy_loss="gspo", clip_low=0.01).parts

    assert (parts.correction_low, parts.correction_high) == (0.999, 1.002)
    assert (parts.clip_low, parts.clip_high) == (0.01, 4e-4)
    came_from = origins("decoupled", parts)
    assert came_from["correction_high"] == "geo_mask"
    assert came_from["clip_high"] == "gspo"
    assert came_from["clip_low"] == came_from["policy_loss"] == "set"


def test_an_unknown_algorithm_is_refused_with_the_nearest() -> None:
    """A misspelt name stops the start and names the one that was meant."""
    with pytest.raises(
        ValidationError, match="there is no algorithm dr_grop; did you mean dr_grpo"
    ):
        settings_of("dr_grop")


def test_the_default_is_what_a_composition_is_without_a_name() -> None:
    """Settings that name no algorithm train by the defaults of the record."""
    assert settings_of("decoupled").parts == Composition()
