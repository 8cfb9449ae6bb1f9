"""How each agent runtime is told its base URL, its key and its model: one entry a runtime.

In a text, <v1> is the base URL with `/v1`, <root> the one without, <key> the key and <model> the model's name.
"""

from collections.abc import Iterator
from dataclasses import dataclass

MODEL = "policy"


@dataclass(frozen=True, slots=True)
class Place:
    """The two strings that an agent gets."""

    root: str  # of the gateway, or of one episode: without /v1
    key: str

    @property
    def v1(self) -> str:
        return f"{self.root}/v1"

    def fill(self, text: str) -> str:
        values = {"<v1>": self.v1, "<root>": self.root, "<key>": self.key, "<model>": MODEL}
        for name, value in values.items():
            text = text.replace(name, value)
        return text


@dataclass(frozen=True, slots=True)
class Runtime:
    name: str
    texts: tuple[tuple[str, str], ...]  # where each belongs, and what to write there
    note: str = ""

    def settings(self, place: Place) -> Iterator[tuple[str, str]]:
        for where, text in self.texts:
            yield where, place.fill(text.strip("\n"))


SHELL = "in the shell"
PYTHON = "in Python"
OPENAI = "export OPENAI_BASE_URL=<v1>\nexport OPENAI_API_KEY=<key>"

_CLAUDE_CODE = """
unset ANTHROPIC_API_KEY
export ANTHROPIC_BASE_URL=<root>
export ANTHROPIC_AUTH_TOKEN=<key>
export ANTHROPIC_MODEL=<model>
export CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1
"""
_CODEX = """
model = "<model>"
model_provider = "turngate"

[model_providers.turngate]
name = "Turngate"
base_url = "<v1>"
env_key = "OPENAI_API_KEY"
wire_api = "responses"
"""
_OPENCODE = """
{
  "model": "turngate/<model>",
  "small_model": "turngate/<model>",
  "provider": {
    "turngate": {
      "npm": "@ai-sdk/openai-compatible",
      "options": {"baseURL": "<v1>", "apiKey": "<key>"},
      "models": {"<model>": {}}
    }
  }
}
"""
_OPENCLAW = """
{
  "models": {
    "providers": {
      "turngate": {
        "baseUrl": "<v1>",
        "apiKey": "<key>",
        "api": "openai-completions",
        "models": [{"id": "<model>", "name": "<model>"}]
      }
    }
  },
  "agents": {"defaults": {"model": {"primary": "turngate/<model>"}}}
}
"""
_HERMES = """
model:
  default: <model>
  provider: custom:turngate
custom_providers:
  - name: turngate
    base_url: <v1>
    api_key: <key>
    model: <model>
"""
_OPENAI = """
from openai import OpenAI

client = OpenAI(base_url="<v1>", api_key="<key>")
client.chat.completions.create(model="<model>", messages=[{"role": "user", "content": "Hello"}])
"""
_OPENAI_AGENTS = """
from agents import set_default_openai_client, set_tracing_disabled
from openai import AsyncOpenAI

set_tracing_disabled(True)
set_default_openai_client(AsyncOpenAI(base_url="<v1>", api_key="<key>"))
# Agent(..., model="<model>")
"""
_LANGGRAPH = """
from langchain_openai import ChatOpenAI

model = ChatOpenAI(model="<model>", base_url="<v1>", api_key="<key>")
"""
_PYDANTIC_AI = """
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

model = OpenAIChatModel("<model>", provider=OpenAIProvider(base_url="<v1>", api_key="<key>"))
"""
_CREWAI = """
from crewai import LLM

llm = LLM(model="openai/<model>", base_url="<v1>", api_key="<key>")
"""
_SMOLAGENTS = """
from smolagents import OpenAIModel

model = OpenAIModel(model_id="<model>", api_base="<v1>", api_key="<key>")
"""
_AI_SDK = """
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";

const turngate = createOpenAICompatible({ name: "turngate", baseURL: "<v1>", apiKey: "<key>" });
// generateText({ model: turngate("<model>"), ... })
"""
_MINI_SWE_AGENT = """
export OPENAI_API_BASE=<v1>
export OPENAI_API_KEY=<key>
export MSWEA_COST_TRACKING=ignore_errors
mini -m openai/<model>
"""
_CURL = """
curl <v1>/chat/completions \\
  -H 'Authorization: Bearer <key>' -H 'Content-Type: application/json' \\
  -d '{"model": "<model>", "messages": [{"role": "user", "content": "Hello"}]}'
"""

_LISTED = (
    Runtime("claude-code", ((SHELL, _CLAUDE_CODE),)),
    Runtime(
        "codex",
        (("~/.codex/config.toml", _CODEX), (SHELL, "export OPENAI_API_KEY=<key>")),
    ),
    Runtime("opencode", (("opencode.json", _OPENCODE),)),
    Runtime("openclaw", (("~/.openclaw/openclaw.json", _OPENCLAW),)),
    Runtime("hermes", (("~/.hermes/config.yaml", _HERMES),)),
    Runtime(
        "openai",
        ((SHELL, OPENAI), (PYTHON, _OPENAI)),
        note="either of the two; OpenAI() reads the variables",
    ),
    Runtime(
        "openai-agents",
        ((PYTHON, _OPENAI_AGENTS),),
        note='it speaks Responses; set_default_openai_api("chat_completions") changes that',
    ),
    Runtime("langgraph", ((PYTHON, _LANGGRAPH),)),
    Runtime("pydantic-ai", ((PYTHON, _PYDANTIC_AI),)),
    Runtime("crewai", ((PYTHON, _CREWAI),)),
    Runtime("smolagents", ((PYTHON, _SMOLAGENTS),)),
    Runtime("ai-sdk", (("in JavaScript", _AI_SDK),)),
    Runtime("mini-swe-agent", ((SHELL, _MINI_SWE_AGENT),)),
    Runtime("curl", ((SHELL, _CURL),)),
)
RUNTIMES = {runtime.name: runtime for runtime in _LISTED}
