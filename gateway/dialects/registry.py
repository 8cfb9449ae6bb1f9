"""The dialects of a gateway: one line each here, or more of them as an argument of `serving.gateway`."""

from collections.abc import Callable, Iterable

from starlette.responses import Response

from gateway.dialects.chat.dialect import ChatDialect
from gateway.dialects.completions.dialect import CompletionsDialect
from gateway.dialects.dialect import Dialect, TokenCount
from gateway.dialects.messages.dialect import MessagesDialect
from gateway.dialects.responses.dialect import ResponsesDialect
from gateway.errors import ApiError

# The first also gives errors their body on paths of no dialect, which are the control plane's.
DIALECTS: tuple[Callable[[], Dialect], ...] = (
    ChatDialect,
    ResponsesDialect,
    MessagesDialect,
    CompletionsDialect,
)


class Dialects:
    """Finds the dialect of a path and the turn of a reply's id."""

    def __init__(self, dialects: Iterable[Dialect]) -> None:
        self._dialects = tuple(dialects)
        owners = [(path, dialect) for dialect in self._dialects for path in dialect.paths]
        self.by_path = dict(owners)
        assert len(self.by_path) == len(owners), "two dialects own the same path"

    def of(self, path: str) -> Dialect:
        """The dialect whose path is the longest beginning of this one."""
        above = [own for own in self.by_path if f"{path}/".startswith(f"{own}/")]
        return self.by_path[max(above, key=len)] if above else self._dialects[0]

    @property
    def token_counts(self) -> list[tuple[Dialect, TokenCount]]:
        """The routes that count tokens."""
        return [(each, each.token_count) for each in self._dialects if each.token_count]

    def error_response(self, path: str, error: ApiError, request_id: str | None = None) -> Response:
        error.request_id = request_id
        return Response(self.of(path).error_body(error), error.status, error.headers)

    def turn_id(self, reply_id: str) -> str:
        """The turn that a reply's id names; a turn's own id names it too."""
        for dialect in self._dialects:
            if reply_id.startswith(dialect.id_prefix):
                return reply_id.removeprefix(dialect.id_prefix)
        return reply_id
