"""The plug-in door: one file of a user's, outside the tree, with a loss, a reward transform, an episode filter and a preset."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rollout.episode.episode_status import DiscardReason
from rollout.settings import SettingsError
from tests.trainer.bandit import is_even, success
from tests.trainer.stand import GROUPS, Place, Stand
from trainer.plugins.loading import load_plugins
from trainer.settings import Settings

MY_RL = '''
from trainer.plugins import Setting, episode_filter, loss, preset, reward_transform


@loss(Setting("ceiling", 2.0, "bound of the ratio", gt=0))
def capped(current_logprobs, proximal_logprobs, *, advantages, ceiling):
    """Capped: -min(rho, ceiling) * A."""
    return -(current_logprobs - proximal_logprobs).exp().clamp(max=ceiling) * advantages


@reward_transform(Setting("sign", -1.0, "of every reward"))
def turned(rewards, *, sign):
    """Turned: sign * r."""
    return sign * rewards


@episode_filter()
def all_groups_but_one(groups):
    """All groups but the last."""
    return groups != groups.max()


MINE = preset(
    "my_rl",
    like="lite_ppo",
    idea="what is rewarded becomes less likely",
    policy_loss="capped",
    reward_transform="turned",
    episode_filter="all_groups_but_one",
)
'''


@pytest.fixture
def my_rl(tmp_path: Path) -> Path:
    return written(tmp_path, MY_RL)


def written(directory: Path, text: str) -> Path:
    path = directory / "my_rl.py"
    path.write_text(text)
    return path


def rewarded(token: int) -> float:
    return float(is_even(token))


def test_a_batch_is_trained_by_a_users_file(
    redis_url: str, model_dir: Path, tmp_path: Path, my_rl: Path
) -> None:
    """The transform turns what is learned around, and what the filter leaves out is discarded as no_signal, once each."""
    parts = load_plugins(str(my_rl), taken=()).presets["my_rl"].parts
    with Stand(Place(redis_url, tmp_path, model_dir, parts=parts), rewarded) as stand:
        before = success(stand.learner)
        stand.train(rounds=6)
        after = success(stand.learner)
        totals = stand.bridge.call(stand.store.totals)
    assert after < before - 0.1
    assert totals.trained == 6 * (GROUPS - 1) * stand.bandit.group_size
    assert totals.discarded[DiscardReason.NO_SIGNAL] == 6 * stand.bandit.group_size


def test_explain_shows_the_users_algorithm(my_rl: Path) -> None:
    """`python -m trainer.explain` knows the preset, the entries' formulas and a setting of the environment."""
    done = run("trainer.explain", my_rl, "--output=json", ALGORITHM="my_rl", CEILING="1.5")

    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    parts = {part["name"]: part for part in shown["parts"]}
    assert shown["idea"] == "what is rewarded becomes less likely"
    assert parts["policy_loss"]["formula"] == "Capped: -min(rho, ceiling) * A"
    assert (parts["ceiling"]["value"], parts["ceiling"]["from"]) == (1.5, "set")
    assert (parts["sign"]["value"], parts["sign"]["is_read"]) == (-1.0, True)


def test_a_setting_nearly_named_as_the_plugins_is_refused(my_rl: Path) -> None:
    """The environment is checked against the plug-in's settings too."""
    done = run("trainer.explain", my_rl, ALGORITHM="my_rl", CEILLING="1.5")

    assert done.returncode == 1
    assert "did you mean TURNGATE_TRAINER_CEILING?" in " ".join(done.stderr.split())


def test_the_trainer_does_not_start_with_a_broken_plugin(tmp_path: Path) -> None:
    """One line with file, line and remedy, and exit code 2."""
    path = written(tmp_path, "import torch\n\nimport a_package_that_is_not_there\n")

    done = run("trainer", path)

    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"{path}:3: ModuleNotFoundError" in line


MASKED = """
from trainer.plugins import Setting, loss

def near(current_logprobs, behavior_logprobs, *, action_mask, radius):
    return action_mask & ((current_logprobs - behavior_logprobs).abs() < radius)

@loss(Setting("radius", 0.5, "of the log-ratio", gt=0), step_mask=near)
def masked(current_logprobs, *, advantages, kept):
    return -advantages * current_logprobs * kept
"""


def test_a_users_loss_may_have_a_mask_over_the_whole_step(tmp_path: Path) -> None:
    """A setting that only the mask reads belongs to the loss, and the policy is measured before it moves."""
    kind = load_plugins(str(written(tmp_path, MASKED)), taken=()).composition

    parts = kind.model_validate({"policy_loss": "masked", "proximal": "behavior"})

    assert parts.reads("radius")
    assert parts.needs_proximal_pass
    assert not kind().reads("radius")


SHARED = """
from trainer.plugins import Setting, loss

SCALE = Setting("scale", 0.5, "of the loss", gt=0)

@loss(SCALE)
def plain(current_logprobs, *, advantages, scale):
    return -scale * advantages * current_logprobs

@loss(SCALE)
def rising(current_logprobs, *, advantages, scale):
    return -scale * advantages.clamp(min=0) * current_logprobs
"""


def test_losses_of_one_file_may_share_a_setting(tmp_path: Path) -> None:
    """It is one setting, and each of the losses reads it."""
    kind = load_plugins(str(written(tmp_path, SHARED)), taken=()).composition

    for name in ("plain", "rising"):
        assert kind.model_validate({"policy_loss": name}).reads("scale")


LOSS = (
    "from trainer.plugins import *\n\n\n@loss({settings})\ndef {name}({parameters}):\n    {body}\n"
)
BAD = [
    ("x = (\n", ":1: SyntaxError", "correct the plug-in"),
    ("def f():\n    raise ValueError('no')\n\n\nf()\n", ":2: ValueError: no", "correct"),
    (
        LOSS.format(settings="", name="cispo", parameters="current_logprobs", body="return 1"),
        ":4: there is a policy_loss cispo already",
        "rename the function",
    ),
    (
        LOSS.format(settings="", name="f", parameters="current_logprobs, advantage", body="..."),
        ":4: nothing gives f a parameter advantage",
        "did you mean advantages?",
    ),
    (
        LOSS.format(
            settings="Setting('learning_rate', 1.0, '')",
            name="f",
            parameters="current_logprobs, learning_rate",
            body="...",
        ),
        ":4: there is a setting learning_rate already",
        "rename it",
    ),
    (
        LOSS.format(
            settings="Setting('x', 1.0, '')", name="f", parameters="advantages", body="..."
        ),
        ":4: f has no parameter x for its setting",
        "add it",
    ),
    (
        LOSS.format(
            settings="", name="f", parameters="current_logprobs", body="return current_logprobs[:1]"
        ),
        ":4: TypeError: f gives (1,), not a tensor with one value per token",
        "correct the plug-in",
    ),
    (
        LOSS.format(
            settings="", name="f", parameters="advantages", body="return advantages / None"
        ),
        ":6: TypeError",
        "correct the plug-in",
    ),
    (MASKED.replace("action_mask,", "cu_seqlens,"), ":7: TypeError", "'cu_seqlens'"),
    (
        MASKED.replace("return action_mask &", "return 1.0 *"),
        ":7: TypeError: step_mask of masked must give one bool per token",
        "correct the plug-in",
    ),
    (
        "from trainer.plugins import preset\n\nA = preset('a', clip_hihg=0.3)\n",
        ":3: preset a: there is no setting clip_hihg",
        "did you mean clip_high?",
    ),
    (
        "from trainer.plugins import preset\nA = preset('a', policy_loss='ppo')\n",
        ":2: preset a: policy_loss: Input should be",
        "'ppo_clip'",
    ),
    (
        "from trainer.plugins import preset\nA = preset('grpo')\n",
        ":2: there is an algorithm grpo already",
        "rename the preset",
    ),
    (
        "from trainer.plugins import preset\nA = preset('a', like='grppo')\n",
        ":2: preset a: there is no algorithm grppo",
        "did you mean grpo?",
    ),
]


@pytest.mark.parametrize(("text", "problem", "remedy"), BAD, ids=[bad[1] for bad in BAD])
def test_a_plugin_that_cannot_be_used_is_named_with_its_line(
    tmp_path: Path, text: str, problem: str, remedy: str
) -> None:
    """Before any weight is touched: the file, the line, what is wrong, what to do."""
    path = written(tmp_path, text)

    with pytest.raises(SettingsError) as refused:
        load_plugins(str(path), taken=Settings.model_fields)

    assert f"TURNGATE_TRAINER_PLUGINS: {path}{problem}" in str(refused.value)
    assert remedy in str(refused.value)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("nowhere.py", "nowhere.py does not exist"),
        ("nowhere", "no package has nowhere as entry point turngate.plugins"),
    ],
)
def test_a_plugin_that_is_not_there_is_named(name: str, problem: str) -> None:
    """A file that does not exist, an entry point that no package has."""
    with pytest.raises(SettingsError, match=problem):
        load_plugins(name, taken=())


def run(
    module: str, plugins: Path, *arguments: str, **settings: str
) -> subprocess.CompletedProcess[str]:
    given = {f"TURNGATE_TRAINER_{name}": value for name, value in settings.items()}
    needed = {"TURNGATE_REDIS_URL": "redis://unused", "TURNGATE_MODEL_DIR": "unused"}
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=os.environ | needed | given | {"TURNGATE_TRAINER_PLUGINS": str(plugins)},
        capture_output=True,
        text=True,
        check=False,
    )
