"""The runtimes that are tested, how each is started, and what the gateway is expected to see of it: one entry a runtime."""

import sys
from dataclasses import dataclass
from pathlib import Path

from tests.runtimes.scripted_model import Call

AGENTS = Path(__file__).with_name("agents")
HOME = Path(__file__).parents[2] / ".runtimes"
OWN_PYTHON = str(HOME / "python/bin/python")
NODE = HOME / "node"
SUMS: tuple[Call, ...] = (
    ("add", {"a": 1, "b": 2}),
    ("add", {"a": 3, "b": 3}),
    ("add", {"a": 6, "b": 4}),
)
TASK = "Add the numbers from 1 to 4, one command for each sum, then say the total."


def commands(tool: str, *lines: str) -> tuple[Call, ...]:
    """Calls of a shell tool."""
    return tuple((tool, {"command": line, "description": "Add two numbers"}) for line in lines)


SHELL_SUMS = ("echo $((1+2))", "echo $((3+3))", "echo $((6+4))")


@dataclass(frozen=True)
class Runtime:
    name: str
    command: tuple[str, ...]
    calls: tuple[Call, ...] = SUMS  # what the model asks for, one after another
    answers: bool = True  # it ends with words and not with a call
    side_calls: int = 0
    forks: int = 0
    environment: tuple[tuple[str, str], ...] = ()  # <v1>, <root> and <key> are filled in

    @property
    def num_turns(self) -> int:
        """Of work on the task."""
        return len(self.calls) + self.answers


def script(name: str, *arguments: str, python: str = OWN_PYTHON) -> tuple[str, ...]:
    return (python, str(AGENTS / name), *arguments)


# Their packages are in the environment of every test.
FAST = (
    Runtime("openai", script("openai_chat.py", python=sys.executable)),
    Runtime("openai, responses", script("openai_responses.py", python=sys.executable)),
    Runtime("anthropic", script("anthropic_messages.py", python=sys.executable)),
)
_AI_SDK = ("node", "--preserve-symlinks", "--preserve-symlinks-main", str(NODE / "ai_sdk.mjs"))
_CODEX = (
    "model_provider=turngate",
    'model_providers.turngate.name="turngate"',
    'model_providers.turngate.base_url="<v1>"',
    'model_providers.turngate.env_key="AGENT_API_KEY"',
    'model_providers.turngate.wire_api="responses"',
)
_OPENCODE = """{
  "model": "turngate/policy", "small_model": "turngate/policy", "autoupdate": false, "share": "disabled",
  "provider": {"turngate": {"npm": "@ai-sdk/openai-compatible", "models": {"policy": {}},
    "options": {"baseURL": "<v1>", "apiKey": "<key>"}}},
  "permission": {"bash": "allow"}
}"""
FULL = (
    Runtime("openai-agents, responses", script("openai_agents.py", "responses")),
    Runtime("openai-agents, chat", script("openai_agents.py", "chat_completions")),
    Runtime("langgraph", script("langgraph_agent.py")),
    Runtime("pydantic-ai", script("pydantic_ai_agent.py")),
    Runtime(
        "smolagents",
        script("smolagents_agent.py"),
        calls=(*SUMS, ("final_answer", {"answer": "The total is 10."})),
        answers=False,
        forks=3,  # its history tells in words what it called, so that no prompt extends an output
    ),
    Runtime(
        "litellm",
        script("litellm_agent.py"),
        environment=(("LITELLM_LOCAL_MODEL_COST_MAP", "True"),),
    ),
    Runtime(
        "mini-swe-agent",
        script("mini_swe_agent.py"),
        calls=commands(
            "bash", *SHELL_SUMS, "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT; echo The total is 10."
        ),
        answers=False,
        environment=(
            ("LITELLM_LOCAL_MODEL_COST_MAP", "True"),
            ("MSWEA_CONFIGURED", "true"),
            ("MSWEA_SILENT_STARTUP", "1"),
        ),
    ),
    Runtime("ai-sdk, chat", _AI_SDK),
    Runtime("ai-sdk, responses", (*_AI_SDK, "responses")),
    Runtime(
        "codex",
        (
            *(str(NODE / "node_modules/.bin/codex"), "exec", "--skip-git-repo-check"),
            *("--dangerously-bypass-approvals-and-sandbox", "--model", "policy"),
            *(part for setting in _CODEX for part in ("-c", setting)),
            TASK,
        ),
        calls=tuple(("exec_command", {"cmd": line}) for line in SHELL_SUMS),
    ),
    Runtime(
        "claude-code",
        (
            *(str(NODE / "node_modules/.bin/claude"), "-p", TASK),
            *("--allowedTools", "Bash", "--output-format", "json"),
        ),
        calls=commands("Bash", *SHELL_SUMS),
        environment=(
            ("ANTHROPIC_BASE_URL", "<root>"),
            ("ANTHROPIC_AUTH_TOKEN", "<key>"),
            ("ANTHROPIC_MODEL", "policy"),
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
        ),
    ),
    Runtime(
        "opencode",
        (str(NODE / "node_modules/.bin/opencode"), "run", TASK),
        calls=commands("bash", *SHELL_SUMS),
        side_calls=1,
        environment=(
            ("OPENCODE_CONFIG_CONTENT", _OPENCODE),
            ("OPENCODE_DISABLE_AUTOUPDATE", "1"),
            ("OPENCODE_DISABLE_MODELS_FETCH", "1"),
            ("OPENCODE_DISABLE_LSP_DOWNLOAD", "1"),
            ("OPENCODE_DISABLE_DEFAULT_PLUGINS", "1"),
        ),
    ),
)
