"""How a ready gateway is announced: one JSON object, or a panel with the two settings that an agent needs on top."""

from dataclasses import asdict

from rich.panel import Panel

from deploy.cli.output import Output
from deploy.stack import Announcement


def show(output: Output, ready: Announcement) -> None:
    settings = (
        f"base_url   {ready.base_url}\napi_key    {ready.project_key}\n\n"
        f"admin key  {ready.admin_key}\nmetrics    {'  '.join(ready.metrics_urls)}\n"
        f"engines    {'  '.join(ready.engines)}\nredis      {ready.redis_url}\n"
        f"data       {ready.data_dir}"
    )
    title = "Turngate is ready: an agent needs base_url and api_key"
    output.result(asdict(ready), Panel(settings, title=title, expand=False))
