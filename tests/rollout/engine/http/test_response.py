"""An answer is the same however its bytes are cut, and one that is no answer is refused."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.engine.http.response import MAX_HEAD_BYTES, MalformedResponse, Response
from tests.rollout.engine.http.raw_server import chunked, whole

BODY = b'{"output_ids":[1,2,3]}' * 3
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n" + BODY


@given(
    answer=st.sampled_from([whole(BODY), chunked(BODY[:5], BODY[5:40], BODY[40:])]),
    before=st.sampled_from(
        [b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Hints\r\na: b\r\n\r\n"]
    ),
    cuts=st.lists(st.integers(1, 150), max_size=10),
)
def test_any_cut_gives_the_same_answer(answer: bytes, before: bytes, cuts: list[int]) -> None:
    """Chunked or of known length, after an interim answer or without one."""
    data, response, body = before + answer, Response(), b""
    bounds = sorted({0, *(cut for cut in cuts if cut < len(data)), len(data)})
    for start, end in itertools.pairwise(bounds):
        assert not response.is_complete
        response.feed(data[start:end])
        body += response.take()

    assert body == BODY
    assert (response.is_complete, response.keeps_connection, response.status) == (True, True, 200)


def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    """As HTTP/1.0 servers send them; the connection cannot serve another call."""
    response = Response()
    response.feed(UNTIL_CLOSE)
    assert not response.is_complete
    response.end()

    assert (response.is_complete, response.keeps_connection) == (True, False)
    assert response.take() == BODY


@pytest.mark.parametrize(
    "part",
    [b"", b"HTTP/1.1 20", b"HTTP/1.1 100 Continue\r\n\r\n", whole(BODY)[:-1], chunked(BODY)[:-2]],
)
def test_an_answer_that_ends_too_early_is_refused(part: bytes) -> None:
    """A lost tail is never taken for the end."""
    response = Response()
    response.feed(part)
    with pytest.raises(MalformedResponse, match="closed"):
        response.end()


def test_a_cut_answer_that_announced_the_close_is_refused_too() -> None:
    """`connection: close` says nothing about the length."""
    response = Response()
    response.feed(whole(BODY, "connection: close")[:-1])
    with pytest.raises(MalformedResponse, match="inside the answer"):
        response.end()


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * (MAX_HEAD_BYTES // 6),
    ],
)
def test_what_is_no_answer_is_refused(data: bytes) -> None:
    """Other protocols, two lengths, wrong chunks, an upgrade and headers without an end."""
    with pytest.raises(MalformedResponse):
        Response().feed(data)


@pytest.mark.parametrize("headers", [[], ["connection: close"]])
@pytest.mark.parametrize("surplus", [b"HTTP/1.1 200 OK\r\n\r\nstolen", b"\x00"])
def test_what_follows_an_answer_is_no_part_of_it(headers: list[str], surplus: bytes) -> None:
    """And a connection on which more came than was asked for serves no other call."""
    response = Response()
    response.feed(whole(BODY, *headers) + surplus)

    assert response.take() == BODY
    assert (response.is_complete, response.keeps_connection) == (True, False)


@pytest.mark.parametrize(
    ("answer", "keeps"),
    [
        (whole(BODY), True),
        (whole(BODY, "connection: close"), False),
        (whole(BODY).replace(b"1.1", b"1.0"), False),
        (whole(b"", status="204 No Content"), True),
        (whole(BODY, status="503 Service Unavailable"), True),
    ],
)
def test_an_answer_says_whether_its_connection_stays(answer: bytes, keeps: bool) -> None:
    """By its version and its headers."""
    response = Response()
    response.feed(answer)

    assert (response.is_complete, response.keeps_connection) == (True, keeps)
