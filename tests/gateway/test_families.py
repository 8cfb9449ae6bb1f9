"""Every family's tool loop with reasoning, through attaching: continued where its template keeps history, else a branch."""

import pytest

from tests.gateway.dialogue import Dialogue
from tests.rollout import families

PRICE = ("price", {"city": "Paris", "count": 2})
LOOK_UP = ("look_up", {"tags": ["é", {"deep": [1, None]}], "options": {}})


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> families.Families:
    return families.Families(tmp_path_factory.mktemp("families"))


def dialogue(shipped: families.Families, name: str, *, with_tools: bool) -> Dialogue:
    template, tokenizer = shipped.load(name)
    return Dialogue(template, tokenizer, ends=families.ends(name), with_tools=with_tools)


def attached(shipped: families.Families, name: str) -> dict[str, str]:
    """How each kind of call attached; that the prompt is the template's is checked on the way."""
    loop = dialogue(shipped, name, with_tools=True)
    loop.hear("What does it cost?")
    loop.turn("I look it up.", "", [PRICE])
    loop.return_results("4")
    after_result = loop.turn("Once more.", "", [LOOK_UP]).how
    loop.return_results("none\n")
    assert loop.turn("Easy.", "It costs 4.").how == after_result
    loop.hear("And two?")
    after_thought = loop.turn("", "Eight.").how
    loop.hear("Sure?")
    after_text = loop.turn("", "Yes.").how
    plain = dialogue(shipped, name, with_tools=False)
    plain.hear("Hello")
    plain.turn("", "Hi.")
    plain.hear("So?")
    without_tools = plain.turn("", "Well.").how
    return {
        "after a result": after_result,
        "after a thought": after_thought,
        "after text": after_text,
        "without tools": without_tools,
    }


# A new question leaves what was said as it was: every call is continued.
KEEPS = ("qwen2_5", "qwen3_instruct_2507", "qwen3_vl", "qwen3_8", "llama3_1", "llama3_2")
KEEPS_TOO = ("hermes", "kimi_k2", "ministral", "deepseek_v31")


@pytest.mark.parametrize("name", [*KEEPS, *KEEPS_TOO])
def test_all_is_continued_where_the_template_keeps_history(
    shipped: families.Families, name: str
) -> None:
    """Results and questions alike go on from the stored ids."""
    assert set(attached(shipped, name).values()) == {"bridged"}


@pytest.mark.parametrize(
    ("name", "branching"),
    [
        ("qwen3", {"after a thought"}),  # earlier thoughts are dropped
        ("glm4moe", {"after a thought"}),
        ("kimi_k2_thinking", {"after a thought"}),
        # The prompt opens a thought, which history does not show when it is over.
        ("qwen3_5_think", {"after a thought", "after text", "without tools"}),
        ("minimax_m2", {"after a thought", "after text", "without tools"}),
        # The same, within a tool loop too.
        ("deepseekv3", {"after a result", "after a thought", "after text", "without tools"}),
        ("deepseek_r1_distill", {"after a result", "after a thought", "after text", "without tools"}),
        # History says <|end|> where the model said <|return|>.
        ("gptoss", {"after a thought", "after text", "without tools"}),
        # The list of tools moves to the last question.
        ("mistral", {"after a thought", "after text"}),
    ],
)  # fmt: skip
def test_a_branch_is_where_the_template_rewrites(
    shipped: families.Families, name: str, branching: set[str]
) -> None:
    """What a template tells differently is a branch, and nothing else is."""
    outcome = attached(shipped, name)
    assert {case for case, how in outcome.items() if how != "bridged"} == branching
