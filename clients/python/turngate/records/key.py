"""Keys of a project."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Key:
    id: str
    project: str
    name: str
    hint: str
    scopes: list[str]
    created: int
    expires: int | None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_concurrent: int | None = None
    max_open_episodes: int | None = None
    grammars_per_minute: int | None = None


@dataclass(frozen=True, slots=True)
class NewKey(Key):
    """The only answer that holds the secret."""

    key: str = field(default="", repr=False)
