"""The models a client may name: `policy@<version>` is one policy version, any other name the policy being trained."""

from collections.abc import Callable, Iterable

from gateway.errors import NotFound
from rollout.engine.pool_member import EngineState
from rollout.served_model import AskedModel

ALIAS = "policy"
_PINNED_PREFIX = f"{ALIAS}@"


def pinned(version: int) -> str:
    return f"{_PINNED_PREFIX}{version}"


def asked_model(
    name: str, engines: Callable[[], Iterable[EngineState]], *, project: str
) -> AskedModel:
    """Only a pinned name needs the engines' states. Raises NotFound for a policy version that no engine serves."""
    if not name.startswith(_PINNED_PREFIX):
        return AskedModel(project)
    served = (engine.model for engine in engines() if engine.is_up and engine.model is not None)
    for model in served:
        if model.project == project and pinned(model.version) == name:
            return AskedModel(project, model.version, model.adapter)
    raise NotFound(
        f"model {name[:64]} is not being served; ask for {ALIAS}, or see /v1/models",
        param="model",
        code="model_not_found",
    )
