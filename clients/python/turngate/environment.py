"""The environment of an agent that runs as another process."""

from collections.abc import Mapping
from typing import Protocol


class Place(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def root(self) -> str: ...
    @property
    def base_url(self) -> str: ...
    @property
    def api_key(self) -> str: ...
    @property
    def model(self) -> str: ...


# Left out of a whole environment.
OURS = "TURNGATE_"  # keys that reward or administer, and addresses of stores with their passwords
OTHER_ACCOUNT = "ANTHROPIC_API_KEY"


def agent_environment(episode: Place, base: Mapping[str, str] | None) -> dict[str, str]:
    """The two strings in every spelling that SDKs and runtimes read.

    Claude Code and Anthropic's SDK send ANTHROPIC_AUTH_TOKEN as a bearer token; beside it, a key of the user's own account in
    ANTHROPIC_API_KEY would be sent too.
    """
    inherited = {name: value for name, value in (base or {}).items() if is_passed_on(name)}
    return {
        **inherited,
        "OPENAI_BASE_URL": episode.base_url,
        "OPENAI_API_BASE": episode.base_url,  # litellm, older LangChain
        "OPENAI_API_KEY": episode.api_key,
        "OPENAI_MODEL": episode.model,
        "ANTHROPIC_BASE_URL": episode.root,
        "ANTHROPIC_AUTH_TOKEN": episode.api_key,
        "ANTHROPIC_MODEL": episode.model,
        "TURNGATE_EPISODE": episode.id,
    }


def is_passed_on(name: str) -> bool:
    return not name.startswith(OURS) and name != OTHER_ACCOUNT
