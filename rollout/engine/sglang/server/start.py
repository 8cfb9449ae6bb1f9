"""The end of SGLang's start, in which it calls its own routes: these calls need the key for as long as they last."""

import logging
import socket
from collections.abc import Callable
from contextlib import ExitStack

from sglang.srt.entrypoints.http_server import _execute_server_warmup, get_global_state
from sglang.srt.runtime_context import get_exec, get_serving
from sglang.srt.server_args import ServerArgs
from xgrammar import TokenizerInfo

from rollout.engine.sglang.server.grammars.limits import Limits
from rollout.engine.sglang.server.grammars.route import GrammarRoute
from rollout.engine.sglang.server.grammars.trial_parent import send_text
from rollout.engine.sglang.server.grammars.trials import Trials

log = logging.getLogger("rollout.engine_server")


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


def open_trials(route: GrammarRoute, parent: socket.socket, limits: Limits) -> None:
    """Let grammars be tried out with the served model's tokenizer, as SGLang's own compiler sees it."""
    backend = get_exec().kernel.grammar_backend
    if backend != "xgrammar":
        log.warning("grammars of %s are not tried out before they are used", backend)
        return
    send_text(parent, _tokenizer().serialize_json())
    route.trials = Trials(parent, limits)


def _tokenizer() -> TokenizerInfo:
    manager = get_global_state().tokenizer_manager
    if hasattr(manager.tokenizer, "init_xgrammar"):
        return manager.tokenizer.init_xgrammar()[0]
    ends = manager.model_config.hf_eos_token_id
    return TokenizerInfo.from_huggingface(
        manager.tokenizer,
        vocab_size=manager.model_config.vocab_size,
        stop_token_ids=list(ends) if ends else None,
    )
