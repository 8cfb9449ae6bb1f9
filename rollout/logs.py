"""The log lines of every process of ours: time, level, logger, message, and fields as name=value."""

import json
import logging
import sys

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class FieldFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        extra = {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
        fields = [f"{name}={_text(value)}" for name, value in extra.items()]
        return " ".join([line, *fields])


def configure() -> None:
    """Log to standard error, without a line per request of httpx: engines are asked for their health every second."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(FieldFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)


def _text(value: object) -> str:
    text = str(value)
    return json.dumps(text) if any(c.isspace() or c in '"=' for c in text) else text
