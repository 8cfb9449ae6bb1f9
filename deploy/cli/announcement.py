"""What is printed when the gateway is ready: one JSON object, or lines with the two settings that an agent needs at their head."""

from dataclasses import asdict

from rich.console import Group
from rich.text import Text

from deploy.stack.stack import Announcement
from deploy.terminal import Output


def show(output: Output, ready: Announcement) -> None:
    """Values are in no frame, which cuts what is longer than the terminal is wide; a key has 67 characters."""
    two = {"base_url": ready.base_url, "api_key": ready.project_key}
    rest = {
        "admin key": ready.admin_key,
        "metrics": " ".join(ready.metrics_urls),
        "engines": " ".join(ready.engines),
        "redis": ready.redis_url,
        "data": ready.data_dir,
    }
    head = Text("Turngate is ready: an agent needs these two", style="bold")
    output.result(asdict(ready), Group(head, _lines(two), "", _lines(rest)))


def _lines(values: dict[str, str]) -> Text:
    return Text("\n".join(f"{name:<10} {value}" for name, value in values.items()))
