"""SGLang in this process and its workers.

With a GPU the workers are spawned: each imports this module again before anything else, which is why `launcher.py` starts
it as a module of its own. Without one they are forked, so SGLang and torch are imported once and their memory is shared.
"""

import os
import socket
from argparse import Namespace

import torch

from rollout.engine.sglang.server import arguments as command_line
from rollout.engine.sglang.server import cpu
from rollout.engine.sglang.server.grammars.limits import Limits
from rollout.engine.sglang.server.grammars.route import PATH, GrammarRoute
from rollout.engine.sglang.server.grammars.trial_parent import fork_parent
from rollout.engine.sglang.server.key_filter import KeyFilter
from rollout.ready_file import ReadyFile

HAS_GPU = torch.cuda.is_available()
GPU_ARGUMENTS = ("--dtype", "bfloat16")  # what the trainer computes in; SGLang would take float16

if __name__ in ("__main__", "__mp_main__") and not HAS_GPU:
    cpu.install()  # here and not in main(): a spawned worker imports this module and runs no main()


def main() -> None:
    """Serve until this process is ended."""
    # SGLang's own health check would generate a token, and hang while the engine is paused for a swap.
    os.environ["SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION"] = "0"
    os.environ["HF_HUB_OFFLINE"] = "1"
    arguments = command_line.parse()
    key = _take_key(arguments)
    limits = Limits()
    trial_parent = fork_parent(limits)
    from sglang.srt.entrypoints.http_server import app, launch_server  # noqa: PLC0415 - after the above
    from sglang.srt.server_args import prepare_server_args  # noqa: PLC0415

    from rollout.engine.sglang.server.scheduler import run_scheduler  # noqa: PLC0415
    from rollout.engine.sglang.server.start import Start, open_trials  # noqa: PLC0415

    port = arguments.port or _free_port(arguments.host)
    device = GPU_ARGUMENTS if HAS_GPU else cpu.ARGUMENTS
    server_args = prepare_server_args(
        command_line.sglang_arguments(arguments, port=port, device=device)
    )
    route = GrammarRoute()
    app.add_route(PATH, route.answer, methods=["POST"])
    if key is not None:
        app.add_middleware(KeyFilter, key=key)

    def announce() -> None:
        open_trials(route, trial_parent, limits)
        _announce(arguments, port)

    start = Start(key, announce=announce)
    launch_server(
        server_args,
        run_scheduler_process_func=run_scheduler,
        execute_warmup_func=start.warm_up,
        launch_callback=start.finish,
    )


def _take_key(arguments: Namespace) -> str | None:
    """SGLang's arguments and environment never have the key, so that no answer, log line or dump of theirs can."""
    name = arguments.admin_key_env
    return None if name is None else os.environ.pop(name)


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _announce(arguments: Namespace, port: int) -> None:
    if arguments.ready_file is not None:
        ReadyFile(arguments.ready_file).write(host=arguments.host, port=port)


if __name__ == "__main__":
    main()
