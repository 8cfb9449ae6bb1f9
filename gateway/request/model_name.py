"""The models a client may name: `policy@<version>` is one policy version, any other name the policy being trained."""

from collections.abc import Iterable

from gateway.errors import NotFound

ALIAS = "policy"
_PINNED_PREFIX = f"{ALIAS}@"


def pinned(version: int) -> str:
    return f"{_PINNED_PREFIX}{version}"


def check_served(model: str, versions: Iterable[int | None]) -> None:
    """Raises NotFound for a policy version that no engine serves."""
    if model.startswith(_PINNED_PREFIX) and model not in [
        pinned(version) for version in versions if version is not None
    ]:
        raise NotFound(
            f"model {model[:64]} is not being served; ask for {ALIAS}, or see /v1/models",
            param="model",
            code="model_not_found",
        )
