"""How clients spell addresses, compress bodies and call from a browser."""

import gzip
import json
import zlib
from collections.abc import Callable

import httpx
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.registry import DIALECTS
from gateway.edge.content_encoding import inflated, unzstd
from gateway.edge.spelling import canonical
from gateway.errors import BadRequest, TooLarge
from gateway.request.request import Reply, Request
from tests.extending.toy_dialect import ASK, ToyDialect
from tests.gateway.edge.bystander import CHAT, SMALL
from tests.gateways import Gateway, StartGateway
from tests.scripted_engine import ScriptedEngine

PLAIN = json.dumps(SMALL).encode()
JSON = {"content-type": "application/json"}
SPELLINGS = (
    CHAT,
    f"{CHAT}/",
    "/v1//chat/completions",
    f"/{CHAT}",
    f"/v1{CHAT}",
    "/chat/completions",
    f"/e/ep_1{CHAT}",
    "/e/ep_1/chat/completions/",
)
RAW_DEFLATE = zlib.compressobj(wbits=-zlib.MAX_WBITS)
COMPRESSED = (
    ("gzip", gzip.compress(PLAIN, mtime=0), 200),
    ("deflate", zlib.compress(PLAIN), 200),
    ("deflate", RAW_DEFLATE.compress(PLAIN) + RAW_DEFLATE.flush(), 200),
    ("identity", PLAIN, 200),
    ("gzip", PLAIN, 400),
    ("gzip", gzip.compress(PLAIN, mtime=0)[:-9], 400),
    ("gzip", gzip.compress(b" " * 50_000_000), 413),
    ("zstd", zstandard.compress(PLAIN), 200),
    ("zstd", PLAIN, 400),
    ("zstd", zstandard.compress(PLAIN)[:-9], 400),
    ("zstd", zstandard.compress(b" " * 50_000_000), 413),
    ("br", b"\x0b\x02\x80hello\x03", 415),
    ("gzip, gzip", gzip.compress(gzip.compress(PLAIN, mtime=0), mtime=0), 415),
)
NOT_UTF_8 = (
    PLAIN.replace(b"Hi", b"caf\xe9"),
    PLAIN.replace(b"Hi", b"a\xed\xa0\xbd b"),
    PLAIN.replace(b"policy", b"caf\xe9"),
    PLAIN.replace(b"{", b'{"unknown": "\xff", ', 1),
)


async def test_base_urls_of_many_spellings(served: Gateway) -> None:
    """A slash too many, /v1 twice or not at all reach the same endpoint; HEAD is answered where GET is."""
    for path in SPELLINGS:
        assert (await served.admin.post(path, json=SMALL)).status_code == 200, path
    for path in ("/v1/models", "/v1/models/", "/models", "/v1//models"):
        assert (await served.admin.get(path)).status_code == 200, path
        head = await served.admin.head(path)
        assert (head.status_code, head.content) == (200, b""), path
    turns = await served.store.turns("ep_1")
    assert len(turns) == 2


@pytest.mark.parametrize(("encoding", "data", "status"), COMPRESSED)
async def test_a_compressed_body(served: Gateway, encoding: str, data: bytes, status: int) -> None:
    """gzip, deflate and zstd are read as what they hold; damage, a bomb and other encodings are refused as such."""
    headers = JSON | {"content-encoding": encoding}
    answer = await served.admin.post(CHAT, content=data, headers=headers)
    assert answer.status_code == status, answer.text
    assert "error" in answer.json() or status == 200


@pytest.mark.parametrize("data", NOT_UTF_8)
@pytest.mark.parametrize("path", [CHAT, "/v1/rewards", "/v1/episodes"])
async def test_a_body_that_is_not_utf_8(served: Gateway, data: bytes, path: str) -> None:
    """It is refused in the dialect's words, and the connection takes the next call."""
    async with httpx.AsyncClient(base_url=served.url, trust_env=False) as client:
        client.headers = served.admin.headers
        answer = await client.post(path, content=data, headers=JSON)
        following = await client.post(CHAT, json=SMALL)
    assert answer.status_code in ((400,) if path == CHAT else (400, 422))
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert following.status_code == 200
    streams = [each.extensions["network_stream"] for each in (answer, following)]
    assert streams[0] is streams[1]


class Broken(ToyDialect):
    def render(self, request: Request, reply: Reply) -> bytes:
        raise RuntimeError("a mistake of ours")


async def test_a_mistake_of_ours_costs_one_call(
    start_gateway: StartGateway, scripted: ScriptedEngine
) -> None:
    """It is a 500, and the next call on the same connection is answered."""
    async with (
        start_gateway(scripted, dialects=(*DIALECTS, Broken)) as served,
        httpx.AsyncClient(base_url=served.url, trust_env=False) as client,
    ):
        client.headers = served.admin.headers
        failed = await client.post(ASK, content="Hi")
        following = await client.post(CHAT, json=SMALL)
    assert (failed.status_code, following.status_code) == (500, 200)
    streams = [each.extensions["network_stream"] for each in (failed, following)]
    assert streams[0] is streams[1]


async def test_a_page_may_call_if_it_is_allowed(
    start_gateway: StartGateway, scripted: ScriptedEngine
) -> None:
    """A preflight is answered for the pages of the setting, whose scripts may read the reply's headers."""
    page = {"origin": "https://chat.example.com"}
    asked = page | {
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,x-stainless-timeout",
    }
    async with start_gateway(scripted, allowed_origins=tuple(page.values())) as served:
        preflight = await served.admin.options(CHAT, headers=asked)
        called = await served.admin.post(CHAT, json=SMALL, headers=page)
        other = await served.admin.options(CHAT, headers=asked | {"origin": "https://evil.example"})
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == page["origin"]
    assert called.headers["access-control-allow-origin"] == page["origin"]
    assert "x-turngate-episode" in called.headers["access-control-expose-headers"]
    assert "access-control-allow-origin" not in other.headers


async def test_no_page_may_call_by_default(served: Gateway) -> None:
    """Without the setting a preflight is an error and no reply names an origin."""
    headers = {"origin": "https://chat.example.com", "access-control-request-method": "POST"}
    answer = await served.admin.options(CHAT, headers=headers)
    assert answer.status_code == 405
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("name", ["%2Fvictim", "%2f%2Fvictim", "victim%2F", "%2F/victim"])
async def test_an_escaped_slash_is_no_way_to_an_id(served: Gateway, name: str) -> None:
    """It is part of an id that does not exist; a slash too many in a base URL still is none."""
    call = f"/e/victim{CHAT}"
    (await served.admin.post(call, json=SMALL)).raise_for_status()
    answers = [
        await served.admin.get(f"/v1/episodes/{name}"),
        await served.admin.delete(f"/v1/episodes/{name}"),
        await served.admin.post(f"/v1/episodes/{name}/complete", json={}),
        await served.admin.post(f"/v1/episodes/{name}/rewards", json={"value": 1}),
        await served.admin.post(f"/e/{name}{CHAT}", json=SMALL),
    ]
    assert {answer.status_code for answer in answers} <= {400, 404, 422}
    shown = (await served.admin.get("/v1//episodes/victim")).json()
    assert (shown["status"], len(shown["turns"]), shown["rewards"]) == ("open", 1, [])


@given(st.text(alphabet="/v1eachomdls", max_size=30).map(lambda path: f"/{path}"))
def test_a_canonical_path_is_stable(path: str) -> None:
    """Spelling a path twice changes nothing more."""
    once = canonical(path)
    assert once.startswith("/")
    assert canonical(once) == once


@pytest.mark.parametrize(
    ("compress", "decompressed"), [(gzip.compress, inflated), (zstandard.compress, unzstd)]
)
@given(data=st.binary(max_size=200), limit=st.integers(0, 100))
def test_any_bytes_are_decompressed_or_refused(
    compress: Callable[[bytes], bytes],
    decompressed: Callable[[bytes, int], bytes],
    data: bytes,
    limit: int,
) -> None:
    """What was compressed comes back up to the limit, and other bytes are an error that says so."""
    if len(data) <= limit:
        assert decompressed(compress(data), limit) == data
    else:
        with pytest.raises(TooLarge):
            decompressed(compress(data), limit)
    with pytest.raises((BadRequest, TooLarge)):
        decompressed(b"\xff" * 8 + data, limit)
