"""What a user copies from the terminal when the stack is ready."""

from typing import Any

import pytest

from deploy.cli.announcement import show
from deploy.stack.stack import Announcement
from deploy.terminal import Output
from gateway.access.api_keys import new_project_key

LONG = "/var/lib/turngate/" + "a/long/way/down/" * 8


def test_every_value_is_printed_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """On 80 columns a key, which fills a line, can be copied, and so can what is longer."""
    given: dict[str, Any] = {
        "base_url": "http://127.0.0.1:8000/v1",
        "admin_key": "tg-admin-x",
        "project_key": new_project_key(),
        "metrics_urls": ("http://127.0.0.1:8001/metrics",),
        "engines": tuple(f"http://engine-{number}.example:30000" for number in range(8)),
        "redis_url": "redis://127.0.0.1:6379/0",
        "data_dir": LONG,
    }
    show(Output(), Announcement(**given))
    lines = capsys.readouterr().out.splitlines()
    printed = [
        line.split(maxsplit=1)[1] for line in lines if line.startswith(("base_url", "api_key"))
    ]
    assert printed == [given["base_url"], given["project_key"]]
    assert any(line.endswith(" ".join(given["engines"])) for line in lines)
    assert any(line.endswith(LONG) for line in lines)
