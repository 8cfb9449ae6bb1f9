"""The answer to one call, as its bytes arrive."""

from http import HTTPStatus

import httptools

MAX_HEAD_BYTES = 64 * 1024  # of all headers; those of an engine have 200


class MalformedResponse(ConnectionError):
    """What came is no HTTP answer, or ends before it should."""


class Response:
    """Holds the part of the body that was not taken yet. Interim answers (1xx) are passed over."""

    __slots__ = (
        "_has_length",
        "_is_interim",
        "_num_head",
        "_parser",
        "_parts",
        "is_complete",
        "keeps_connection",
        "num_unread",
        "status",
    )

    def __init__(self) -> None:
        self.status = 0  # until its headers have arrived
        self.is_complete = False
        self.keeps_connection = False
        self.num_unread = 0
        self._parts: list[bytes] = []
        self._num_head = 0
        self._has_length = False
        self._is_interim = False
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Take in what arrived. Raises MalformedResponse."""
        assert self._parser is not None, "nothing comes after the end"
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.keeps_connection = False
            if self.is_complete:  # something follows it
                return
            raise MalformedResponse(f"the answer is no HTTP: {error}") from error
        if not self.status:
            self._num_head += len(data)
            if self._num_head > MAX_HEAD_BYTES:
                raise MalformedResponse(f"the headers have more than {MAX_HEAD_BYTES} bytes")

    def end(self) -> None:
        """No more will come. Raises MalformedResponse if that leaves the answer incomplete."""
        if self.is_complete:
            return
        if not self.status:
            raise MalformedResponse("the connection was closed before the answer")
        if self.keeps_connection or self._has_length:
            raise MalformedResponse("the connection was closed inside the answer")
        self.is_complete = True

    def close(self) -> None:
        """Part from the parser, which holds this too: two that hold each other live until the collector finds them."""
        self._parser = None

    def take(self) -> bytes:
        """The body since the last call of this."""
        parts, self._parts, self.num_unread = self._parts, [], 0
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def on_message_begin(self) -> None:
        if self.is_complete:  # a second answer, which nobody asked for
            self.keeps_connection = False

    def on_header(self, name: bytes, _value: bytes) -> None:
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self._has_length = True

    def on_headers_complete(self) -> None:
        if self.is_complete or self._parser is None:
            return
        status = self._parser.get_status_code()
        self._is_interim = status < HTTPStatus.OK
        if not self._is_interim:
            self.status = status
            self.keeps_connection = self._parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        if not self.is_complete:
            self._parts.append(data)
            self.num_unread += len(data)

    def on_message_complete(self) -> None:
        if self._is_interim:
            self._is_interim = self._has_length = False
        else:
            self.is_complete = True
