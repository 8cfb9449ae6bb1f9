"""The exit status of a gateway's process, and one line in the log for what an operator can put right."""

import logging
from collections.abc import Callable

from rollout.chat_template.rendering import TemplateError
from rollout.errors import RolloutError
from rollout.settings import SettingsError
from rollout.tokenizer.model_directory import ModelDirectoryError

log = logging.getLogger("gateway")

_MISTAKES = (SettingsError, RolloutError, ModelDirectoryError, TemplateError, OSError)


def exit_status(serve: Callable[[], int | None]) -> int:
    """Of a process that serves until this returns: 0 unless it says another one, and 2 after a mistake."""
    try:
        return serve() or 0
    except _MISTAKES as error:
        mistake: BaseException = error
    except BaseExceptionGroup as group:
        mistakes, others = group.split(_MISTAKES)
        if mistakes is None or others is not None:
            raise
        mistake = mistakes
        while isinstance(mistake, BaseExceptionGroup):
            mistake = mistake.exceptions[0]
    log.error("cannot serve: %s", mistake)
    return 2
