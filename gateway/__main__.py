"""`python -m gateway`: serve until a signal, with settings from the environment."""

import logging
import sys

import uvloop

from gateway.serving import serve
from gateway.settings import Settings
from rollout.chat_template.rendering import TemplateError
from rollout.errors import RolloutError
from rollout.logs import configure
from rollout.settings import SettingsError
from rollout.tokenizer.model_directory import ModelDirectoryError

log = logging.getLogger("gateway")

# What an operator can put right: one line each, no traceback.
_MISTAKES = (SettingsError, RolloutError, ModelDirectoryError, TemplateError, OSError)


def main() -> int:
    """Serve until SIGTERM or SIGINT; return the exit status."""
    configure()
    try:
        uvloop.run(serve(Settings.load()))
    except _MISTAKES as error:
        log.error("cannot serve: %s", error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
