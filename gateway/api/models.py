"""The models a client may name: the alias `policy`, and each version that an engine serves."""

from fastapi import APIRouter, Response

from gateway.api.dependencies import ModelViewer, ServicesDep
from gateway.api.documented_errors import NOT_FOUND, OF_CALLS_WITH_A_KEY
from gateway.api.responses import ListObject, ModelObject
from gateway.errors import NotFound
from gateway.request.model_name import ALIAS, pinned
from gateway.services import Services

router = APIRouter(tags=["models"], responses=OF_CALLS_WITH_A_KEY)


@router.get("/v1/models")
async def list_models(services: ServicesDep, caller: ModelViewer) -> ListObject[ModelObject]:
    """List the alias and the served versions, newest first."""
    return ListObject(data=await _models(services))


@router.get("/v1/models/{model}", responses=NOT_FOUND)
async def get_model(model: str, services: ServicesDep, caller: ModelViewer) -> ModelObject:
    """Show one model."""
    for known in await _models(services):
        if known.id == model:
            return known
    raise NotFound(f"no model {model[:64]}; see /v1/models", param="model", code="model_not_found")


@router.head("/", include_in_schema=False)
async def greet() -> Response:
    """Answer runtimes that ask whether a server is there before their first call."""
    return Response()


async def _models(services: Services) -> list[ModelObject]:
    policy = await services.store.policy()
    created = policy.created if policy is not None else 0
    served = {s.policy_version for s in services.pool.snapshot() if s.policy_version is not None}
    names = [ALIAS, *map(pinned, sorted(served, reverse=True))]
    return [ModelObject(id=name, created=created, rendering=services.model) for name in names]
