"""The hypothesis profiles: which exist, and what a share of one is."""

import pytest
from hypothesis import settings

from tests.profiles import EXAMPLES, UnknownProfile, examples, load_profile


def test_a_profile_that_does_not_exist_is_refused_with_those_that_do() -> None:
    """A misspelled profile names the known ones and both ways to choose one."""
    with pytest.raises(
        UnknownProfile, match=r"'nightli'.*ci, nightly.*--hypothesis-profile.*TURNGATE_TEST_PROFILE"
    ):
        load_profile("nightli")


def test_a_share_follows_the_profile() -> None:
    """A tenth of a profile is a tenth of its examples, and never none."""
    whole = settings.default.max_examples

    assert whole in EXAMPLES.values()
    assert examples(0.1).max_examples == whole // 10
    assert examples(0.0001).max_examples == 1
