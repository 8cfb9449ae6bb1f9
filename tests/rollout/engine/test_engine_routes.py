"""Who may use the routes of an engine server: the real SGLang, with every route that it has."""

import json
import socket
from collections.abc import Iterator

import httpx
import pytest

from tests.engines import ADMIN_KEY

pytestmark = pytest.mark.engine

KEYED = {"authorization": f"Bearer {ADMIN_KEY}"}
OPEN = [("get", "/health")]
UNDOCUMENTED = [
    ("get", path) for path in ("/metrics", "/metrics/", "/docs", "/redoc", "/openapi.json")
]


@pytest.fixture(scope="module")
def routes(engine: str) -> list[tuple[str, str]]:
    """Every method and path that the running server documents, and those that it does not."""
    documented = httpx.get(f"{engine}/openapi.json", headers=KEYED, timeout=60).json()["paths"]
    found = [(method, path) for path, methods in documented.items() for method in methods]
    assert len(found) > 90
    return found + UNDOCUMENTED


@pytest.fixture(scope="module")
def client(engine: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=engine, timeout=60, trust_env=False) as client:
        yield client


def test_every_route_is_closed_without_the_key(
    client: httpx.Client, routes: list[tuple[str, str]]
) -> None:
    """Health alone is open, and says nothing."""
    answers = {route: client.request(*route) for route in routes}
    is_open = [route for route, answer in answers.items() if answer.status_code != 401]

    assert is_open == OPEN
    assert answers[OPEN[0]].content == b""


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer guess"},
        {"authorization": f"Bearer {ADMIN_KEY[:-1]}"},
        {"authorization": ADMIN_KEY},
        {"x-api-key": ADMIN_KEY},
        {"authorization": "Bearer \xff"},
    ],
)
def test_what_is_not_exactly_the_key_opens_nothing(
    client: httpx.Client, headers: dict[str, str]
) -> None:
    """Neither a part of the key, nor another header, nor bytes outside ASCII."""
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    answers = [
        client.request(method, path, headers=httpx.Headers(raw))
        for method, path in (
            ("GET", "/server_info"),
            ("OPTIONS", "/generate"),
            ("POST", "/health"),
            ("GET", "/health_generate"),
            ("GET", "//health"),
            ("GET", "/nowhere"),
        )
    ]

    assert {answer.status_code for answer in answers} == {401}


def test_a_websocket_is_closed_too(engine: str) -> None:
    """The server refuses the upgrade."""
    host, _, port = engine.removeprefix("http://").partition(":")
    upgrade = (
        f"GET /v1/realtime HTTP/1.1\r\nhost: {host}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
        "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(upgrade.encode())
        answer = connection.recv(64)

    assert answer.startswith((b"HTTP/1.1 401", b"HTTP/1.1 403"))


def test_no_answer_contains_the_key(client: httpx.Client) -> None:
    """Not even the answers that list the server's arguments."""
    for path in ("/server_info", "/get_server_info", "/model_info", "/v1/loads", "/metrics"):
        answer = client.get(path, headers=KEYED, follow_redirects=True)
        assert answer.status_code == 200, path
        assert ADMIN_KEY not in answer.text, path
    arguments = json.loads(client.get("/server_info", headers=KEYED).content)
    assert arguments["api_key"] is None
    assert arguments["admin_api_key"] is None
