"""What is printed when the gateway is ready: one JSON object, or a panel with the two settings that an agent needs."""

from dataclasses import asdict

from rich.console import Group
from rich.panel import Panel

from deploy.stack.stack import Announcement
from deploy.terminal import Output


def show(output: Output, ready: Announcement) -> None:
    """Long values are outside the panel, where lines are not broken and can be copied."""
    two = f"base_url  {ready.base_url}\napi_key   {ready.project_key}"
    panel = Panel(two, title="Turngate is ready: an agent needs these two", expand=False)
    rest = {
        "admin key": ready.admin_key,
        "metrics": " ".join(ready.metrics_urls),
        "engines": " ".join(ready.engines),
        "redis": ready.redis_url,
        "data": ready.data_dir,
    }
    lines = "\n".join(f"{name:<10} {value}" for name, value in rest.items())
    output.result(asdict(ready), Group(panel, lines))
