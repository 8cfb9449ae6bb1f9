"""The application: which routes there are, and how anything that goes wrong is told."""

from collections.abc import Mapping

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from gateway.api import administration, episodes, health, models, policies, rewards
from gateway.dialects.chat.stream import ChatDialect
from gateway.endpoint.model_endpoint import ModelEndpoint
from gateway.errors import EXPECTED, ApiError, error_body, error_headers, translate
from gateway.services import Services

_CODES = {404: "not_found", 405: "method_not_allowed"}


def create_app(services: Services, model_endpoints: Mapping[str, ModelEndpoint]) -> FastAPI:
    """Build the application around services that are open."""
    app = FastAPI(
        title="Turngate",
        summary="An OpenAI-compatible gateway that trains the model behind it.",
        redirect_slashes=False,
    )
    app.state.services = services
    for path, endpoint in model_endpoints.items():  # for the answer to other methods than POST
        app.add_route(path, endpoint, methods=["POST"])  # type: ignore[arg-type]
    for part in (episodes, rewards, models, administration, policies, health):
        app.include_router(part.router)
    for kind in (*EXPECTED, Exception):
        app.add_exception_handler(kind, _ours)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    return app


def create_model_endpoints(services: Services) -> dict[str, ModelEndpoint]:
    """The hot routes by path, one for each dialect."""
    path = "/v1/chat/completions"
    chat = ModelEndpoint(
        ChatDialect(),
        route=path,
        turns=services.turns,
        stores=services.stores,
        pool=services.pool,
        authenticator=services.authenticator,
        limits=services.limits,
    )
    return {path: chat}


async def _ours(request: Request, error: Exception) -> Response:
    answer = translate(error)
    return Response(answer.body, answer.status, answer.headers)


async def _http(request: Request, error: Exception) -> Response:
    """What the router refuses: no such path, no such method."""
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, ApiError):  # FastAPI wraps what reading a body raises
        return await _ours(request, error.__cause__)
    where = f"{request.method} {request.url.path}"
    code = _CODES.get(error.status_code)
    body = error_body(
        f"{error.detail}: {where}", type_="invalid_request_error", code=code, param=None
    )
    headers = error_headers(error.status_code, None) | dict(error.headers or {})
    return Response(body, error.status_code, headers)


async def _invalid(request: Request, error: Exception) -> Response:
    """What a schema refuses. The offending value is not repeated: it may be NaN, or 30 MB."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    is_json = first["type"] == "json_invalid"
    param = ".".join(str(part) for part in first["loc"][1:]) or None
    message = first["msg"] if param is None or is_json else f"{param}: {first['msg']}"
    status = 400 if is_json else 422
    body = error_body(
        f"the body is not valid JSON: {message}" if is_json else message,
        type_="invalid_request_error",
        code="invalid_json" if is_json else "invalid_value",
        param=None if is_json else param,
    )
    return Response(body, status, error_headers(status, None))
