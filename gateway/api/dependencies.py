"""The arguments that control-plane routes declare: the services, ids in the path, and a caller with a scope."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated

from fastapi import Depends, Path, Request
from pydantic import AfterValidator

from gateway.access.caller import Caller
from gateway.errors import Forbidden
from gateway.request.identifiers import checked_id
from gateway.services import Services


def get_services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(get_services)]
EpisodeId = Annotated[str, Path(alias="id"), AfterValidator(partial(checked_id, what="episode"))]
GroupId = Annotated[str, Path(alias="id"), AfterValidator(partial(checked_id, what="group"))]


def caller_with(*scopes: str) -> Callable[[Request, Services], Awaitable[Caller]]:
    """A dependency that admits keys with one of these scopes, within their limits."""

    async def admit(request: Request, services: ServicesDep) -> Caller:
        caller = await services.authenticator.caller(dict(request.scope["headers"]))
        caller.require(*scopes)
        if caller.is_limited:
            await services.limits.count_request(caller, request.scope)
        return caller

    return admit


async def _opener(caller: Annotated[Caller, Depends(caller_with("infer"))]) -> Caller:
    if caller.episode_id is not None:
        raise Forbidden("an episode key opens no further episodes; use the project's key")
    return caller


Opener = Annotated[Caller, Depends(_opener)]
Rewarder = Annotated[Caller, Depends(caller_with("reward"))]
Viewer = Annotated[Caller, Depends(caller_with("read", "observe"))]
Observer = Annotated[Caller, Depends(caller_with("admin", "observe"))]
Admin = Annotated[Caller, Depends(caller_with("admin"))]
ModelViewer = Annotated[Caller, Depends(caller_with("infer", "observe"))]
