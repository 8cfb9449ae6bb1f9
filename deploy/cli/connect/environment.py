"""The two strings in every spelling that SDKs and runtimes read from their environment."""

from collections.abc import Mapping

from deploy.cli.connect.runtimes import MODEL, Place

OURS = "TURNGATE_"  # keys that reward or administer, and addresses of stores with their passwords
OTHER_ACCOUNT = "ANTHROPIC_API_KEY"  # beside ANTHROPIC_AUTH_TOKEN it would be sent instead


def agent_environment(place: Place, inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment of an agent that is started here."""
    return {
        **{name: value for name, value in inherited.items() if is_passed_on(name)},
        "OPENAI_BASE_URL": place.v1,
        "OPENAI_API_BASE": place.v1,  # litellm, older LangChain
        "OPENAI_API_KEY": place.key,
        "OPENAI_MODEL": MODEL,
        "ANTHROPIC_BASE_URL": place.root,
        "ANTHROPIC_AUTH_TOKEN": place.key,
        "ANTHROPIC_MODEL": MODEL,
    }


def is_passed_on(name: str) -> bool:
    return not name.startswith(OURS) and name != OTHER_ACCOUNT
