"""The README's tables of endpoints, settings, algorithms and families, made from the code: `python -m tests.readme_tables` rewrites them.

A table stands between `<!-- name -->` and `<!-- /name -->`; `test_readme.py` compares.
"""

import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, get_args, get_origin

from fastapi.routing import APIRoute
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from deploy.settings import Settings as CommandSettings
from gateway.api import administration, episodes, health, models, policies, rewards
from gateway.settings import Settings as GatewaySettings
from rollout.settings import SharedSettings
from tests.family_table import families
from trainer.composition.composition import Composition
from trainer.composition.presets import PRESETS
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
        "trainer, the parts of its algorithm": rows(TrainerSettings, Composition.model_fields),
        "the `turngate` command": rows(CommandSettings, CommandSettings.model_fields),
    }
    head = "| setting | default | meaning |\n|---|---|---|\n"
    return "\n\n".join(f"**{title}**\n\n{head}" + "\n".join(body) for title, body in parts.items())


def own(kind: type[SharedSettings]) -> dict[str, FieldInfo]:
    shared = SharedSettings.model_fields | Composition.model_fields
    return {name: field for name, field in kind.model_fields.items() if name not in shared}


def rows(kind: type[BaseSettings], fields: dict[str, FieldInfo]) -> Iterator[str]:
    for name, field in fields.items():
        prefix = str(kind.model_config.get("env_prefix", ""))
        variable = (
            kind.variable(name) if issubclass(kind, SharedSettings) else prefix + name.upper()
        )
        assert field.description, f"{variable} has no description"
        yield f"| `{variable}` | {default(field)} | {field.description}{choices(field)} |"


def choices(field: FieldInfo) -> str:
    if get_origin(field.annotation) is not Literal:
        return ""
    return ": " + ", ".join(f"`{choice}`" for choice in get_args(field.annotation))


def default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    if field.default is None or field.default == ():
        return ""
    if isinstance(field.default, tuple):
        return f"`{','.join(field.default)}`"
    return f"`{field.default}`"


def algorithms() -> str:
    rows = [
        "| `algorithm` | from | what it is | advantage | loss | mean over | KL to the reference |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, preset in PRESETS.items():
        parts = preset.parts
        cells = (f"`{name}`", preset.source, preset.idea, advantage(parts), loss(parts))
        rows.append(f"| {' | '.join((*cells, f'`{parts.aggregation}`', kl(parts)))} |")
    return "\n".join(rows)


def advantage(parts: Composition) -> str:
    whitened = ", whitened" if parts.whitening == "tokens" else ""
    turns = "" if parts.turn_credit == "episode" else f", {parts.turn_credit}"
    return f"`{parts.advantage}`{turns}{whitened}"


def loss(parts: Composition) -> str:
    bounds = f" {parts.clip_low:g} / {parts.clip_high:g}" if parts.loss_entry.clips else ""
    return f"`{parts.policy_loss}`{bounds}"


def kl(parts: Composition) -> str:
    if parts.kl_in_reward:
        return f"{parts.kl_in_reward:g}, k1 in the reward"
    return f"{parts.kl_in_loss:g}, {parts.kl_estimator} in the loss" if parts.kl_in_loss else ""


TABLES = {
    "endpoints": endpoints,
    "settings": settings,
    "algorithms": algorithms,
    "families": families,
}


def filled(text: str, names: Iterable[str] = TABLES) -> str:
    """The README with its tables as the code has them."""
    for name in names:
        section = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)", re.DOTALL)
        assert section.search(text), f"README.md has no section {name}"
        text = section.sub(lambda match, name=name: match[1] + TABLES[name]() + match[2], text)
    return text


if __name__ == "__main__":
    README.write_text(filled(README.read_text()))
