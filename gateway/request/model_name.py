"""The models a client may name: `policy@<version>` is one policy version, any other name the policy being trained."""

from collections.abc import Iterable

from gateway.errors import NotFound
from rollout.served_model import AskedModel, ServedModel

ALIAS = "policy"
_PINNED_PREFIX = f"{ALIAS}@"


def pinned(version: int) -> str:
    return f"{_PINNED_PREFIX}{version}"


def asked_model(name: str, served: Iterable[ServedModel], *, project: str) -> AskedModel:
    """Raises NotFound for a policy version that no engine serves."""
    if not name.startswith(_PINNED_PREFIX):
        return AskedModel(project)
    for model in served:
        if model.project == project and pinned(model.version) == name:
            return AskedModel(project, model.version, model.adapter)
    raise NotFound(
        f"model {name[:64]} is not being served; ask for {ALIAS}, or see /v1/models",
        param="model",
        code="model_not_found",
    )
