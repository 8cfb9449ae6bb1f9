"""The two strings in every spelling that SDKs and runtimes read from their environment."""

from collections.abc import Mapping

from deploy.cli.connect.runtimes import MODEL, Place

# Another account's key beside ours would be sent instead of it; the others may reward or administer.
LEFT_OUT = ("ANTHROPIC_API_KEY", "TURNGATE_API_KEY", "TURNGATE_GATEWAY_ADMIN_KEY")


def agent_environment(place: Place, inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment of an agent that is started here."""
    return {
        **{name: value for name, value in inherited.items() if name not in LEFT_OUT},
        "OPENAI_BASE_URL": place.v1,
        "OPENAI_API_BASE": place.v1,  # litellm, older LangChain
        "OPENAI_API_KEY": place.key,
        "OPENAI_MODEL": MODEL,
        "ANTHROPIC_BASE_URL": place.root,
        "ANTHROPIC_AUTH_TOKEN": place.key,
        "ANTHROPIC_MODEL": MODEL,
    }
