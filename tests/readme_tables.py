"""The README's tables of endpoints and settings, made from the code: `python -m tests.readme_tables` rewrites them.

A table stands between `<!-- name -->` and `<!-- /name -->`; `test_readme.py` compares.
"""

import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from fastapi.routing import APIRoute
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from deploy.settings import Settings as CommandSettings
from gateway import administration, episodes, health, models, policies, rewards
from gateway.settings import Settings as GatewaySettings
from rollout.settings import SharedSettings
from trainer.settings import Settings as TrainerSettings

README = Path(__file__).parent.parent / "README.md"
PARTS = (models, episodes, rewards, policies, administration, health)
CHAT = "| `POST /v1/chat/completions` | OpenAI chat: streamed or not, tools, `n`, `stop`, `logprobs`, `response_format`, SGLang's extras, `return_token_ids`; also under `/e/{episode}` |"


def endpoints() -> str:
    rows = ["| call | meaning |", "|---|---|", CHAT]
    for part in PARTS:
        for route in part.router.routes:
            assert isinstance(route, APIRoute)
            calls = ", ".join(f"`{method} {route.path}`" for method in sorted(route.methods))
            rows.append(f"| {calls} | {sentence(route)} |")
    rows.append("| `GET /metrics` | what Prometheus reads, on a listener of its own |")
    return "\n".join(rows)


def sentence(route: APIRoute) -> str:
    doc = inspect.getdoc(route.endpoint)
    assert doc, f"{route.path} has no docstring"
    return doc.splitlines()[0].rstrip(".")


def settings() -> str:
    parts = {
        "gateway and trainer": rows(SharedSettings, SharedSettings.model_fields),
        "gateway": rows(GatewaySettings, own(GatewaySettings)),
        "trainer": rows(TrainerSettings, own(TrainerSettings)),
        "the `turngate` command": rows(CommandSettings, CommandSettings.model_fields),
    }
    head = "| setting | default | meaning |\n|---|---|---|\n"
    return "\n\n".join(f"**{title}**\n\n{head}" + "\n".join(body) for title, body in parts.items())


def own(kind: type[SharedSettings]) -> dict[str, FieldInfo]:
    return {
        name: f for name, f in kind.model_fields.items() if name not in SharedSettings.model_fields
    }


def rows(kind: type[BaseSettings], fields: dict[str, FieldInfo]) -> Iterator[str]:
    for name, field in fields.items():
        prefix = str(kind.model_config.get("env_prefix", ""))
        variable = (
            kind.variable(name) if issubclass(kind, SharedSettings) else prefix + name.upper()
        )
        assert field.description, f"{variable} has no description"
        yield f"| `{variable}` | {default(field)} | {field.description} |"


def default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    if field.default is None or field.default == ():
        return ""
    return f"`{field.default}`"


TABLES = {"endpoints": endpoints, "settings": settings}


def filled(text: str, names: Iterable[str] = TABLES) -> str:
    """The README with its tables as the code has them."""
    for name in names:
        section = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)", re.DOTALL)
        assert section.search(text), f"README.md has no section {name}"
        text = section.sub(lambda match, name=name: match[1] + TABLES[name]() + match[2], text)
    return text


if __name__ == "__main__":
    README.write_text(filled(README.read_text()))
