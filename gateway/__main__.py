"""`python -m gateway`: serve until a signal, with settings from the environment, alone or by workers."""

import sys

import uvloop

from gateway.exit_status import exit_status
from gateway.settings import Settings
from rollout.logs import configure


def main() -> int:
    """Serve until SIGTERM or SIGINT; return the exit status."""
    configure()
    return exit_status(_serve)


def _serve() -> int | None:
    # The parent of workers serves nothing itself: without this code it starts sooner and is a third of the size.
    settings = Settings.load()
    if settings.workers > 1:
        from gateway.workers.parent import serve_by_workers  # noqa: PLC0415

        return uvloop.run(serve_by_workers(settings))
    from gateway.serving import serve  # noqa: PLC0415

    return uvloop.run(serve(settings))


if __name__ == "__main__":
    sys.exit(main())
