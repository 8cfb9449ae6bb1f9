"""Which words of an engine's own may stand where in our sources."""

import re
from pathlib import Path

import gateway

ROOT = Path(gateway.__file__).parent.parent
PACKAGES = ("gateway", "rollout", "trainer", "deploy", "clients")
HOME = ROOT / "rollout" / "engine" / "sglang"
SGLANGS_WORDS = re.compile(
    r"max_new_tokens|min_new_tokens|sampling_seed|sampling_params|sampling_mask|return_logprob"
    r"|\brid\b|structural_tag|triggered_tags|xgrammar|weight_version|meta_info|model_info"
    r"|/generate\b|abort_request|pause_generation|continue_generation|update_weights"
)


def test_sglangs_words_stand_in_its_folder_alone() -> None:
    """No other source file of the product names a field, a route or a library of SGLang's."""
    sources = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    elsewhere = [
        f"{file.relative_to(ROOT)}: {found.group()}"
        for file in sources
        if not file.is_relative_to(HOME)
        for found in SGLANGS_WORDS.finditer(file.read_text(encoding="utf-8"))
    ]

    assert elsewhere == []
    assert any(SGLANGS_WORDS.search(file.read_text(encoding="utf-8")) for file in HOME.glob("*.py"))
