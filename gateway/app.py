"""The application: its routes, and the one handler that answers every error in the dialect of its path."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from gateway.api import administration, episodes, health, models, policies, refusals, rewards
from gateway.api.areal import sessions
from gateway.api.documented_errors import OF_EVERY_CALL
from gateway.endpoint.count_endpoint import CountEndpoint
from gateway.endpoint.exchange import REQUEST_ID, Endpoint
from gateway.endpoint.model_endpoint import ModelEndpoint
from gateway.errors import (
    EXPECTED,
    ApiError,
    BadRequest,
    MethodNotAllowed,
    NotFound,
    translate,
)
from gateway.services import Services

AGENT_ROUTERS = (episodes.router, rewards.router, models.router, health.router, sessions.router)
ADMIN_ROUTERS = (administration.router, policies.router)
_BY_STATUS: Mapping[int, type[ApiError]] = {404: NotFound, 405: MethodNotAllowed}


def create_app(
    services: Services,
    model_paths: Iterable[str],
    *,
    routers: Sequence[APIRouter] = (*AGENT_ROUTERS, *ADMIN_ROUTERS),
) -> FastAPI:
    """Build the application around services that are open."""
    app = FastAPI(
        title="Turngate",
        summary="An OpenAI-compatible gateway that trains the model behind it.",
        redirect_slashes=False,
    )
    app.state.services = services
    for path in model_paths:  # so that other methods than POST are 405
        app.add_route(path, _answered_by_the_edge, methods=["POST"])
    for router in routers:
        app.include_router(router, responses=OF_EVERY_CALL)
    for kind in (*EXPECTED, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _answer)
    return app


def create_model_endpoints(services: Services) -> dict[str, Endpoint]:
    """An endpoint for every path of every dialect."""
    dialects = services.dialects
    return {
        path: ModelEndpoint(dialect, path, services) for path, dialect in dialects.by_path.items()
    } | {
        count.path: CountEndpoint(dialect, count, services)
        for dialect, count in dialects.token_counts
    }


async def _answered_by_the_edge(request: Request) -> Response:
    raise AssertionError("model calls do not reach the application")


async def _answer(request: Request, error: Exception) -> Response:
    services: Services = request.app.state.services
    answered = partial(
        services.dialects.error_response,
        request.scope["path"],
        request_id=request.scope[REQUEST_ID],
    )
    match error:
        case RequestValidationError():
            return answered(refusals.by_schema(error))
        case HTTPException():
            where = f"{request.method} {request.url.path}"
            answer = answered(_refused_by_router(error, where))
            answer.headers.update(error.headers or {})
            return answer
    return answered(translate(error))


def _refused_by_router(error: HTTPException, where: str) -> ApiError:
    """No such path, no such method; FastAPI also wraps what reading a body raises."""
    if isinstance(error.__cause__, ApiError):
        return error.__cause__
    if error.__cause__ is not None:
        return refusals.unreadable(error.__cause__)
    return _BY_STATUS.get(error.status_code, BadRequest)(f"{error.detail}: {where}")
