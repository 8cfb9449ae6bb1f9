"""How many examples each property tries: profile `ci` on every change, `nightly` for what only long runs find."""

from typing import TypeVar

from hypothesis import settings

T = TypeVar("T")

ENVIRONMENT_VARIABLE = "TURNGATE_TEST_PROFILE"
EXAMPLES = {"ci": 50, "nightly": 200}


class UnknownProfile(ValueError):
    """The profile is not one of `EXAMPLES`."""


def load_profile(name: str) -> None:
    """Make `name` the default of every property that is defined from now on."""
    if name not in EXAMPLES:
        raise UnknownProfile(
            f"hypothesis profile {name!r} does not exist; choose one of {', '.join(EXAMPLES)}"
            f" with --hypothesis-profile or {ENVIRONMENT_VARIABLE}"
        )
    for profile, max_examples in EXAMPLES.items():
        # How long an example takes says how busy the machine is; a test that hangs meets pytest's own limit.
        settings.register_profile(profile, deadline=None, max_examples=max_examples)
    settings.load_profile(name)


def examples(share: float) -> settings:
    """A property that tries this share of the profile's examples: below 1 where one is slow, above 1 where bugs are rare."""
    return settings(max_examples=max(1, round(share * settings.default.max_examples)))


def per_profile(*, ci: T, nightly: T) -> T:
    """What a test uses that costs too much to be run in full on every change."""
    return nightly if settings.get_current_profile_name() == "nightly" else ci
