"""The arguments that control-plane routes declare: the services, ids in the path, and a caller with a scope."""

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Annotated

from fastapi import Depends, Header, Path, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from pydantic import AfterValidator

from gateway.access.caller import Caller
from gateway.endpoint.session import in_session
from gateway.errors import Forbidden
from gateway.request.identifiers import checked_id
from gateway.services import Services
from rollout.errors import NoSuchEpisode


def get_services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(get_services)]
RetryKey = Annotated[
    str | None, Header(alias="Idempotency-Key", max_length=255, description="for safe repeats")
]
EpisodeId = Annotated[str, Path(alias="id"), AfterValidator(partial(checked_id, what="episode"))]
GroupId = Annotated[str, Path(alias="id"), AfterValidator(partial(checked_id, what="group"))]


# Only for the description in OpenAPI: either header is read by the authenticator.
Bearer = Annotated[HTTPAuthorizationCredentials | None, Security(HTTPBearer(auto_error=False))]
ApiKey = Annotated[str | None, Security(APIKeyHeader(name="x-api-key", auto_error=False))]


def caller_with(*scopes: str) -> Callable[..., Awaitable[Caller]]:
    """A dependency that admits keys with one of these scopes, within their limits."""

    async def admit(
        request: Request, services: ServicesDep, _bearer: Bearer, _key: ApiKey
    ) -> Caller:
        caller = await services.authenticator.caller(dict(request.scope["headers"]))
        caller.require(*scopes)
        if caller.is_limited:
            await services.limits.count_request(caller, request.scope)
        return caller

    return admit


async def _opener(caller: Annotated[Caller, Depends(caller_with("infer"))]) -> Caller:
    if caller.episode_id is not None or caller.session is not None:
        raise Forbidden("this key opens no further episodes; use the project's key")
    return caller


async def _rewarder(
    caller: Annotated[Caller, Depends(caller_with("reward"))], services: ServicesDep
) -> Caller:
    return caller if caller.session is None else await in_session(caller, services.stores)


def check_own(caller: Caller, episode_ids: Iterable[str]) -> None:
    """Raise NoSuchEpisode if the caller's key is of one session and an episode is not that session's."""
    for episode_id in episode_ids:
        if caller.session is not None and caller.episode_id != episode_id:
            raise NoSuchEpisode(episode_id)


Opener = Annotated[Caller, Depends(_opener)]
Rewarder = Annotated[Caller, Depends(_rewarder)]
Viewer = Annotated[Caller, Depends(caller_with("read", "observe"))]
Observer = Annotated[Caller, Depends(caller_with("admin", "observe"))]
Admin = Annotated[Caller, Depends(caller_with("admin"))]
ModelViewer = Annotated[Caller, Depends(caller_with("infer", "observe"))]
