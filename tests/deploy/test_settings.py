"""What the command reads, what it passes on, and what it refuses."""

import pytest

from deploy.cli.app import hoisted
from deploy.errors import SettingsInvalid
from deploy.settings import load_settings, override, passed_on
from rollout.settings import SharedSettings


def test_a_misspelt_setting_is_refused() -> None:
    """A name that no process reads is an error, and one of a process's own passes."""
    load_settings({"TURNGATE_TRAINER_GROUP_SIZE": "4", "TURNGATE_DATA_DIR": "x", "HOME": "/"})

    with pytest.raises(SettingsInvalid, match="TURNGATE_TRAINR_GROUP_SIZE"):
        load_settings({"TURNGATE_TRAINR_GROUP_SIZE": "4"})


def test_what_agents_read_is_no_setting() -> None:
    """A shell in which an agent's address and key are set may start the stack, and no process gets them."""
    environment = {"TURNGATE_BASE_URL": "http://a", "TURNGATE_API_KEY": "tg-1"}
    load_settings(environment)

    assert passed_on(environment, "TURNGATE_GATEWAY_") == {}


def test_set_takes_long_and_short_names() -> None:
    """`--set trainer.group_size=4` is the environment variable without the typing."""
    changed = override({}, ["trainer.group_size=4", "TURNGATE_GATEWAY_BASE_URL=http://a=b"])

    assert changed == {
        "TURNGATE_TRAINER_GROUP_SIZE": "4",
        "TURNGATE_GATEWAY_BASE_URL": "http://a=b",
    }
    with pytest.raises(SettingsInvalid, match="NAME=VALUE"):
        override({}, ["trainer.group_size"])


def test_a_process_gets_only_its_own_settings() -> None:
    """The trainer never sees the gateway's admin key."""
    environment = {"TURNGATE_GATEWAY_ADMIN_KEY": "s", "TURNGATE_TRAINER_SEED": "1", "PATH": "/bin"}

    assert passed_on(environment, "TURNGATE_TRAINER_") == {
        "TURNGATE_TRAINER_SEED": "1",
        "PATH": "/bin",
    }


def test_every_setting_of_both_processes_can_be_set() -> None:
    """What gateway and trainer share is known to the command, which chooses it or passes it on."""
    shared = {str(field.validation_alias) for field in SharedSettings.model_fields.values()}

    load_settings(dict.fromkeys(shared, "x"))


def test_settings_of_both_processes_are_set_once() -> None:
    """Gateway and trainer get a shared setting of the user's, the engine does not."""
    environment = {"TURNGATE_FLAGGED_TOKENS": "mask"}
    load_settings(environment)

    assert passed_on(environment, "TURNGATE_GATEWAY_") == environment
    assert passed_on(environment, "TURNGATE_TRAINER_") == environment
    assert passed_on(environment, None) == {}


@pytest.mark.parametrize(
    ("written", "understood"),
    [
        (["up", "--output", "json", "--port", "0"], ["--output", "json", "up", "--port", "0"]),
        (["--plain", "status"], ["--plain", "status"]),
        (
            ["keys", "list", "--output=json", "--plain"],
            ["--output=json", "--plain", "keys", "list"],
        ),
        (["engine", "--", "--output", "x"], ["engine", "--", "--output", "x"]),
        (["up", "--output"], ["--output", "up"]),
    ],
)
def test_global_options_may_follow_the_command(written: list[str], understood: list[str]) -> None:
    """--plain and --output mean the same wherever they stand, except after a bare `--`."""
    assert hoisted(written) == understood
