"""What is known of agent runtimes: how each is recognized, how it names its sessions, and which calls are no work on the task.

The names are a fixed set, because each is a label of a metric. A new runtime is one entry here.
"""

import msgspec


class SideCall(msgspec.Struct, frozen=True):
    """A call that a runtime makes for itself; it is recorded and never trains."""

    what: str
    instructions: str = ""  # words at the beginning of its instructions
    asks: str = ""  # the first words of its last message
    asks_whole: str = ""  # all of its last message
    has_tools: bool = False  # otherwise one with tools is work on the task


class Runtime(msgspec.Struct, frozen=True):
    """Names of headers are in lower case. A call is recognized by any of its first four marks."""

    name: str
    agents: tuple[str, ...] = ()  # beginnings of its user agent, in lower case
    own_headers: tuple[bytes, ...] = ()  # no other runtime sends them
    says: tuple[str, ...] = ()  # words at the beginning of its instructions
    tools: frozenset[str] = frozenset()  # it offers all of these
    sessions: tuple[bytes, ...] = ()  # headers with its id of one conversation and its sub-agents
    threads: tuple[bytes, ...] = ()  # headers with its id of one agent in a session
    counts_cache_key: bool = False  # its prompt_cache_key is the same in all calls of a session
    repeats_unstreamed: bool = (
        False  # it asks for the reply of a broken stream once more, in one piece
    )
    writes_ids: bool = False  # it puts the ids of tool calls into the text of its history
    side_calls: tuple[SideCall, ...] = ()


CLAUDE_CODE = Runtime(
    name="claude-code",
    agents=("claude-cli", "claude-code"),
    own_headers=(b"x-claude-code-session-id",),
    says=("You are Claude Code", "built on Anthropic's Claude Agent SDK"),
    tools=frozenset({"Bash", "Read", "Edit", "Write"}),
    sessions=(b"x-claude-code-session-id",),
    threads=(b"x-claude-code-agent-id",),
    repeats_unstreamed=True,
    side_calls=(
        SideCall("quota", asks_whole="quota"),
        SideCall("warm-up", asks_whole="Warmup", has_tools=True),
        SideCall("topic", instructions="Analyze if this message indicates a new conversation"),
        SideCall("title", instructions="Generate a concise, sentence-case title"),
        SideCall("title", instructions="Summarize this coding conversation in under 50"),
        SideCall("title", asks="Please write a 5-10 word title"),
        SideCall("command prefix", instructions="Your task is to process Bash commands"),
        SideCall("file paths", instructions="Extract any file paths that this command reads"),
        SideCall("suggestion", asks="[SUGGESTION MODE:", has_tools=True),
        SideCall("recap", asks="The user stepped away and is coming back", has_tools=True),
    ),
)
CODEX = Runtime(
    name="codex",
    agents=("codex",),
    says=("You are Codex",),
    tools=frozenset({"shell", "update_plan"}),
    sessions=(b"session-id", b"session_id"),
    threads=(b"thread-id",),
    counts_cache_key=True,
)
OPENCODE = Runtime(
    name="opencode",
    agents=("opencode",),
    own_headers=(b"x-opencode-session",),
    says=("You are opencode", "You are OpenCode"),
    tools=frozenset({"bash", "edit", "glob", "grep", "read", "todowrite"}),
    sessions=(b"x-session-id", b"x-opencode-session", b"x-session-affinity"),
    counts_cache_key=True,
    side_calls=(
        SideCall("title", instructions="You are a title generator"),
        SideCall("summary", instructions="Summarize what was done in this conversation"),
    ),
)
OPENCLAW = Runtime(
    name="openclaw",
    agents=("openclaw",),
    says=("running inside OpenClaw",),
    tools=frozenset({"sessions_spawn", "session_status"}),
    counts_cache_key=True,
    side_calls=(
        SideCall("slug", asks="Based on this conversation, generate a short 1-2 word", has_tools=True),
    ),
)  # fmt: skip
HERMES = Runtime(
    name="hermes",
    agents=("hermes",),
    own_headers=(b"x-hermes-session-id",),
    says=("You are Hermes Agent",),
    sessions=(b"x-hermes-session-id",),
    side_calls=(SideCall("title", instructions="Generate a short, descriptive title"),),
)
QWEN_CODE = Runtime(
    name="qwen-code",
    agents=("qwencode", "qwen-code"),
    own_headers=(b"x-qwen-code-session-id",),
    says=("You are Qwen Code",),
    sessions=(b"x-qwen-code-session-id",),
    side_calls=(
        SideCall(
            "next speaker",
            asks="Analyze *only* the content and structure of your immediately preceding",
            has_tools=True,
        ),
    ),
)
CRUSH = Runtime(
    name="crush",
    agents=("charm-crush", "crush"),
    says=("You are Crush",),
    side_calls=(SideCall("title", instructions="You will generate a short title based on the"),),
)
OPEN_WEBUI = Runtime(
    name="open-webui",
    own_headers=(b"x-openwebui-chat-id",),
    sessions=(b"x-openwebui-chat-id",),
    side_calls=(SideCall("title, tags or questions", asks="### Task:"),),
)
AIDER = Runtime(
    name="aider",
    says=("Act as an expert software developer",),
    side_calls=(
        SideCall(
            "commit message",
            instructions="You are an expert software engineer that generates concise, one-line Git",
        ),
    ),
)
MINI_SWE_AGENT = Runtime(
    name="mini-swe-agent", says=("You are a helpful assistant that can interact with a computer",)
)
SMOLAGENTS = Runtime(
    name="smolagents",
    says=("You are an expert assistant who can solve any task",),
    writes_ids=True,
)
# Anything else. A side call of a known kind is one from whatever client it comes.
OTHER = Runtime(
    name="other",
    sessions=(b"x-session-id", b"session_id", b"session-id", b"x-litellm-session-id"),
    threads=(b"thread-id",),
    side_calls=(
        SideCall("title", instructions="You are a title generator. You output ONLY"),
        SideCall(
            "title", instructions="You will generate a short title based on the first message"
        ),
    ),
)

# The first that recognizes a call.
RUNTIMES = (
    *(CLAUDE_CODE, CODEX, OPENCODE, OPENCLAW, HERMES, QWEN_CODE, CRUSH, OPEN_WEBUI, AIDER),
    *(MINI_SWE_AGENT, SMOLAGENTS),
)
# Libraries that runtimes are made with, by the beginnings of their user agents: the last resort.
LIBRARIES = {
    "openai/python": "openai-python",
    "asyncopenai/python": "openai-python",
    "openai/js": "openai-node",
    "anthropic/python": "anthropic-python",
    "asyncanthropic/python": "anthropic-python",
    "anthropic/js": "anthropic-node",
    "agents/python": "openai-agents",
    "agents/javascript": "openai-agents",
    "pydantic-ai": "pydantic-ai",
    "litellm": "litellm",
    "ai/": "ai-sdk",
    "ai-sdk": "ai-sdk",
    "langchain": "langchain",
    "python-httpx": "httpx",
}
