"""The log lines of every process of ours: time, level, logger, message, and fields as name=value."""

import json
import logging
import sys
from collections.abc import Mapping

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class FieldFormatter(logging.Formatter):
    def __init__(
        self, form: str, times: str | None = None, *, of_all: Mapping[str, object] = {}
    ) -> None:
        super().__init__(form, times)
        self._of_all = of_all  # fields of every line

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        extra = {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
        fields = [f"{name}={_text(value)}" for name, value in {**extra, **self._of_all}.items()]
        return " ".join([line, *fields])


def configure(**of_all: object) -> None:
    """Log to standard error, with these fields in every line.

    Without a line per request of httpx: engines are asked for their health every second.
    """
    handler = logging.StreamHandler(sys.stderr)
    form = "%(asctime)s %(levelname)s %(name)s %(message)s"
    handler.setFormatter(FieldFormatter(form, of_all=of_all))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)


def _text(value: object) -> str:
    text = str(value)
    return json.dumps(text) if any(c.isspace() or c in '"=' for c in text) else text
