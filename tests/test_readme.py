"""The README says what the code does."""

import re
from pathlib import Path

import pytest

from tests.readme_tables import README, TABLES, filled

ROOT = README.parent


@pytest.mark.parametrize("name", TABLES)
def test_table_is_what_the_code_has(name: str) -> None:
    """Endpoints and settings in the README are those of the code; `python -m tests.readme_tables` rewrites them."""
    text = README.read_text()

    assert text == filled(text, [name])


def test_every_path_in_the_tree_exists() -> None:
    """The annotated tree names files that are there."""
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
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    told = set(re.findall(r"(?:`|^)make ([a-z]+)", README.read_text(), re.MULTILINE))

    assert told
    assert told <= targets


def test_product_names_resolve_to_this_tree() -> None:
    """`gateway`, `rollout`, `trainer` and `deploy` are ours and not a namesake's from elsewhere."""
    import deploy  # noqa: PLC0415
    import gateway  # noqa: PLC0415
    import rollout  # noqa: PLC0415
    import trainer  # noqa: PLC0415

    homes = {
        Path(str(module.__file__)).parent.parent for module in (deploy, gateway, rollout, trainer)
    }

    assert homes == {ROOT}
