"""The end of SGLang's start, in which it calls its own routes: these calls need the key for as long as they last."""

from collections.abc import Callable
from contextlib import ExitStack

from sglang.srt.entrypoints.http_server import _execute_server_warmup
from sglang.srt.runtime_context import get_serving
from sglang.srt.server_args import ServerArgs


class Start:
    """`warm_up` and `finish` are called by SGLang in this order, in a thread of its own."""

    def __init__(self, key: str | None, *, announce: Callable[[], None]) -> None:
        self._key = key
        self._announce = announce
        self._lent = ExitStack()

    def warm_up(self, server_args: ServerArgs) -> bool:
        self._lent.enter_context(get_serving().override(api_key=self._key))
        return bool(_execute_server_warmup(server_args))

    def finish(self) -> None:
        self._lent.close()
        self._announce()
