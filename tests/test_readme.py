"""The README is short, true and works."""

import asyncio
import re
from pathlib import Path

import pytest

from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.conftest import end_of_turn, spell
from tests.gateways import ADMIN_KEY, StartGateway
from tests.scripted_engine import running_engine

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
MOST_BYTES = 8192


def test_readme_is_short() -> None:
    """Everything beyond the first quarter of an hour is in the manual."""
    assert len(README.read_bytes()) <= MOST_BYTES


@pytest.mark.parametrize(
    "name", ["README.md", "CONTRIBUTING.md", "clients/README.md", "clients/python/README.md"]
)
def test_every_link_leads_to_a_file(name: str) -> None:
    """What a document outside the manual points to is there; in the manual the strict build checks links."""
    document = ROOT / name
    links = re.findall(r"\]\(([^)#:]+)[^)]*\)", document.read_text())

    assert links
    assert [link for link in links if not (document.parent / link).exists()] == []


async def test_the_ten_lines_reward_an_episode(
    start_gateway: StartGateway, tokenizer: Tokenizer
) -> None:
    """The program in the README takes a turn and rewards it, with the two settings put in."""
    (program,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    async with running_engine() as engine:
        engine.default = (*spell(tokenizer, "Hello there."), end_of_turn(tokenizer))
        async with start_gateway(engine) as gateway:
            filled = program.replace("http://127.0.0.1:8000", gateway.url).replace(
                "tg-…", ADMIN_KEY
            )
            await asyncio.to_thread(exec, compile(filled, README.name, "exec"), {})
            shown = (await gateway.admin.get("/v1/episodes/my-first-episode")).json()

    assert len(shown["turns"]) == 1
    assert shown["reward"] == 1.0
    assert shown["status"] == "rewarded"


def test_every_path_in_the_tree_exists() -> None:
    """The annotated tree names folders and files that are there."""
    tree = README.read_text().split("## What is where")[1].split("```")[1]
    folder = ""
    named = []
    for line in tree.strip().splitlines():
        entries = re.match(r"( *)((?:\S+[./]\S* ?)+)  ", line + "  ")
        assert entries, line
        if not entries[1]:
            folder = entries[2].strip()
            named.append(folder)
        else:
            named += [folder + entry for entry in entries[2].split()]

    assert len(named) > 15
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_make_target_in_the_readme_exists() -> None:
    """What the README tells people to type is in the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", README.read_text(), re.MULTILINE))

    assert named
    assert named <= targets


def test_product_names_resolve_to_this_tree() -> None:
    """`gateway`, `rollout`, `trainer`, `deploy` and the client's `turngate` are ours and not a namesake's from elsewhere."""
    import deploy  # noqa: PLC0415
    import gateway  # noqa: PLC0415
    import rollout  # noqa: PLC0415
    import trainer  # noqa: PLC0415
    import turngate  # noqa: PLC0415

    homes = {
        Path(str(module.__file__)).parent.parent for module in (deploy, gateway, rollout, trainer)
    }

    assert homes == {ROOT}
    assert Path(turngate.__file__).parent.parent == ROOT / "clients" / "python"
