"""What a scheduler process runs: SGLang's own, with our limits on grammars if it serves its model alone."""

from sglang.srt.constrained.base_grammar_backend import register_grammar_backend
from sglang.srt.constrained.xgrammar_backend import TokenizerNotSupportedError
from sglang.srt.managers.scheduler import run_scheduler_process
from sglang.srt.runtime_context import get_context, get_serving
from sglang.srt.server_args import ServerArgs

from rollout.engine.sglang.server import seeds
from rollout.engine.sglang.server.grammars.guarded_backend import GuardedBackend


def run_scheduler(server_args: ServerArgs, *args: object, **options: object) -> None:
    """With seeds, and with limits on grammars. SGLang wraps its own backend, and none of ours, if it parses thoughts itself."""
    if server_args.tp_size == server_args.pp_size == 1 and server_args.reasoning_parser is None:
        register_grammar_backend("xgrammar", _create)
    seeds.install()
    run_scheduler_process(server_args, *args, **options)


def _create(
    server_args: ServerArgs, tokenizer: object, vocab_size: int, eos_token_ids: set[int] | None
) -> GuardedBackend | None:
    del server_args
    try:
        return GuardedBackend(
            tokenizer,
            vocab_size=vocab_size,
            model_eos_token_ids=list(eos_token_ids) if eos_token_ids else None,
            any_whitespace=not get_serving().constrained_json_disable_any_whitespace,
            max_whitespace_cnt=get_serving().constrained_json_max_whitespace_cnt,
        )
    except TokenizerNotSupportedError:
        get_context().override("grammar.import_fallback", grammar_backend="none")
        return None
