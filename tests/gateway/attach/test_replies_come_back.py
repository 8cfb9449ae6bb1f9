"""What a gateway said can be sent back: a call that was cut anywhere is continued from its stored tokens."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.family_table import dialogue
from tests.profiles import examples
from tests.rollout import shipped_templates

CALLS = [
    [("price", {"city": "Paris", "count": 2})],
    [("look_up", {"tags": ["é", {"deep": [1, None]}], "options": {}})],
    [("price", {"city": "Paris"}), ("look_up", {"flag": True})],
]
KEEPING = (
    *("qwen2_5", "qwen3", "qwen3_instruct_2507", "qwen3_8", "glm4moe", "llama3_1", "hermes"),
    *("kimi_k2", "deepseek_v31", "ministral"),
)
# These templates change what they show of an output, whether it is whole or not.
CHANGING = ("qwen3_5_think", "deepseekv3", "gptoss", "kimi_k2_thinking", "minimax_m2", "mistral")


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> shipped_templates.ShippedTemplates:
    return shipped_templates.ShippedTemplates(tmp_path_factory.mktemp("families"))


@pytest.mark.parametrize("name", [*KEEPING, *CHANGING])
@settings(examples(0.4), suppress_health_check=[HealthCheck.too_slow])
@given(
    share=st.floats(0.05, 1.0),
    calls=st.sampled_from(CALLS),
    content=st.sampled_from(["", "I look it up."]),
)
def test_a_call_that_was_cut_comes_back(
    shipped: shipped_templates.ShippedTemplates,
    name: str,
    share: float,
    calls: list[tuple[str, dict[str, object]]],
    content: str,
) -> None:
    """Wherever max_tokens cuts an answer with calls, its reply and a result are accepted, and continued where possible."""
    loop = dialogue(shipped, name, with_tools=True)
    loop.hear("What does it cost?")
    loop.cut_turn(content, calls, share)
    if called := loop.messages[-1].get("tool_calls"):
        loop.return_results(*["error: the arguments are no JSON"] * len(called))
    else:
        loop.hear("Go on.")
    after = loop.cut_turn("Easy.", [], 1.0)
    assert after.how in ("bridged", "branched")
    assert after.how == "bridged" or name in CHANGING
