"""Every family's tool loop with reasoning, through attaching: continued if its template keeps history, else a branch."""

import logging

import pytest

from gateway.families.model_facts import ModelFacts
from gateway.families.registry import family_of
from tests.family_table import attached, dialogue
from tests.rollout import shipped_templates


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> shipped_templates.ShippedTemplates:
    return shipped_templates.ShippedTemplates(tmp_path_factory.mktemp("families"))


@pytest.mark.parametrize(
    ("template", "family"),
    [
        ("qwen2_5", "Qwen2.5, Qwen3, Hermes"),
        ("qwen3", "Qwen2.5, Qwen3, Hermes"),
        ("hermes", "Qwen2.5, Qwen3, Hermes"),
        ("qwen3_6", "Qwen3-Coder, Qwen3.5 and later, Nemotron 3"),
        ("llama3", "Llama 3"),
        ("llama3_2", "Llama 3"),
        ("deepseekv3", "DeepSeek V3, R1"),
        ("deepseek_r1_distill", "DeepSeek V3, R1"),
        ("glm4moe", "GLM-4.5 and later"),
        ("mistral", "Mistral, Ministral"),
        ("ministral", "Mistral, Ministral"),
        ("gptoss", "gpt-oss"),
        ("kimi_k2", "Kimi-K2"),
        ("minimax_m2", "MiniMax"),
        ("gemma3", None),
        ("phi3", None),
        ("cohere2", None),
    ],
)
def test_a_family_is_known_by_its_template(template: str, family: str | None) -> None:
    """A template shows its family; a template of another family gives None."""
    assert family_of(shipped_templates.source(template)) == family


def test_a_model_of_no_known_family_is_introduced_as_such(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log line at start names the generic rule, and how calls attach under it."""
    facts = ModelFacts(None, None, None, "tokenizers", "branches", "bridged")
    with caplog.at_level(logging.INFO):
        facts.log_at_start()
    (record,) = caplog.records
    assert (record.levelname, record.after_results) == ("WARNING", "branches")
    assert "generic rule" in record.message


# A new question changes no earlier message: every call is continued.
KEEPS = ("qwen2_5", "qwen3_instruct_2507", "qwen3_vl", "qwen3_8", "llama3_1", "llama3_2")
KEEPS_TOO = ("hermes", "kimi_k2", "ministral", "deepseek_v31")


@pytest.mark.parametrize("name", [*KEEPS, *KEEPS_TOO])
def test_all_is_continued_where_the_template_keeps_history(
    shipped: shipped_templates.ShippedTemplates, name: str
) -> None:
    """After results and after questions, a call continues the stored ids."""
    assert set(attached(shipped, name).values()) == {"bridged"}


@pytest.mark.parametrize(
    ("name", "branching"),
    [
        ("qwen3", {"after a thought"}),  # earlier reasoning is dropped
        ("glm4moe", {"after a thought"}),
        ("kimi_k2_thinking", {"after a thought"}),
        # The prompt opens reasoning, which history does not show.
        ("qwen3_5_think", {"after a thought", "after text", "without tools"}),
        ("minimax_m2", {"after a thought", "after text", "without tools"}),
        # The same, also within a tool loop.
        ("deepseekv3", {"after a result", "after a thought", "after text", "without tools"}),
        ("deepseek_r1_distill", {"after a result", "after a thought", "after text", "without tools"}),
        # History has <|end|> where the model sampled <|return|>.
        ("gptoss", {"after a thought", "after text", "without tools"}),
        # The list of tools moves to the last question.
        ("mistral", {"after a thought", "after text"}),
    ],
)  # fmt: skip
def test_a_branch_is_where_the_template_rewrites(
    shipped: shipped_templates.ShippedTemplates, name: str, branching: set[str]
) -> None:
    """A call branches exactly if the template rewrites history."""
    outcome = attached(shipped, name)
    assert {case for case, how in outcome.items() if how != "bridged"} == branching


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("gemma3", "bridged"),
        ("phi3_5", "bridged"),
        ("cohere", "bridged"),
        ("cohere2", "branched"),
        ("lfm2_2_5", "bridged"),
        ("nemotron_3_nano", "branched"),
    ],
)
def test_any_other_model_follows_the_generic_rule(
    shipped: shipped_templates.ShippedTemplates, name: str, how: str
) -> None:
    """A template of no known family is continued if it keeps history, and its prompts are its own texts."""
    talk = dialogue(shipped, name, with_tools=False)
    talk.hear("Hello")
    talk.turn("", "Hi.")
    talk.hear("So?")
    assert talk.turn("", "Well.").how == how
    talk.hear("And?")
    talk.turn("", "No more.")


def test_a_question_asked_again_shows_the_tools_again(
    shipped: shipped_templates.ShippedTemplates,
) -> None:
    """Mistral's template puts the tools before each question that equals the last one: the real tools, not the stand-in."""
    loop = dialogue(shipped, "mistral", with_tools=True)
    loop.hear("What does it cost?")
    loop.turn("", "Four.")
    loop.hear("What does it cost?")
    assert loop.turn("", "Four.").how == "bridged"


# What the caller of a template may set; each dialogue checks its prompts on the way.
@pytest.mark.parametrize(
    ("name", "kwargs", "hows"),
    [
        ("qwen3", {"enable_thinking": False}, ["branched", "branched"]),
        ("qwen3_6", {"enable_thinking": False}, ["bridged", "branched"]),
        ("qwen3_8", {"enable_thinking": False}, ["bridged", "bridged"]),
        ("qwen3_8", {"reasoning_effort": "low"}, ["bridged", "bridged"]),
        ("glm4moe", {"enable_thinking": False}, ["bridged", "bridged"]),
        ("deepseek_v31", {"thinking": True}, ["branched", "branched"]),
        ("gptoss", {"reasoning_effort": "high"}, ["bridged", "branched"]),
    ],
)
def test_reasoning_can_be_set_by_the_call(
    shipped: shipped_templates.ShippedTemplates,
    name: str,
    kwargs: dict[str, object],
    hows: list[str],
) -> None:
    """The template's own variables change the prompt, and the next call continues it, or branches if history is rewritten."""
    template, _ = shipped.load(name)
    question = [{"role": "user", "content": "What?"}]
    assert template.render(question, extra=kwargs) != template.render(question)
    loop = dialogue(shipped, name, with_tools=True, **kwargs)
    loop.hear("What does it cost?")
    loop.turn("I look it up.", "", [("price", {"city": "Paris"})])
    loop.return_results("4")
    after_result = loop.turn("Easy.", "Four.").how
    loop.hear("And two?")
    assert [after_result, loop.turn("", "Eight.").how] == hows


@pytest.mark.parametrize(
    ("name", "opened"),
    [
        ("qwen2_5", "<|im_start|>assistant\n"),
        ("qwen3", "<|im_start|>assistant\n<think>\n\n</think>\n\n"),
        ("qwen3_6", "<|im_start|>assistant\n<think>\n\n</think>\n\n"),
        ("llama3_1", "<|end_header_id|>\n\n"),
        ("deepseekv3", "<｜Assistant｜>"),
        ("deepseek_v31", "<｜Assistant｜></think>"),
        ("glm4moe", "<|assistant|>\n<think></think>\n"),
        ("mistral", "[/INST]"),
        ("hermes", "<|im_start|>assistant\n"),
        ("gptoss", "<|start|>assistant<|channel|>final<|message|>"),
        ("kimi_k2_thinking", "<|im_assistant|>assistant<|im_middle|><think></think>"),
        ("minimax_m2", "]~b]ai\n"),
    ],
)
def test_a_prefill_is_content_and_not_reasoning(
    shipped: shipped_templates.ShippedTemplates, name: str, opened: str
) -> None:
    """A prefill is content: reasoning that the prompt opens is closed before it."""
    talk = dialogue(shipped, name, with_tools=False)
    talk.hear("Count.")
    begun = talk.begin("One, two")
    assert begun.endswith(f"{opened}One, two")
    assert talk.messages[-1] == {"role": "assistant", "content": "One, two, three."}
    talk.hear("Go on.")
    talk.turn("", "Four.")
