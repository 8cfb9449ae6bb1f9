"""One model call, the same whatever its dialect.

Every dialect builds a `Request` and renders a `Reply`; nothing between the two knows which dialect it was.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import msgspec

from gateway.request.tools import NO_TOOLS, Tools
from rollout.engine.generation import SamplingParameters

# Content is a string, or a list of parts if there are images. A tool call's arguments are what the client sent; they are
# parsed for the template.
ChatMessage = Mapping[str, object]


class ToolChoice(msgspec.Struct, frozen=True):
    mode: Literal["none", "auto", "required"] = "auto"
    name: str | None = None  # with "required": this function and no other

    @property
    def is_forced(self) -> bool:
        return self.mode == "required"


class Image(msgspec.Struct, frozen=True):
    digest: str  # SHA-256 of its bytes
    url: str  # data:, as the client sent it
    where: str  # in the body


class Request(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    messages: Sequence[ChatMessage]
    prints: Sequence[bytes]  # the hash of each message
    sampling: SamplingParameters  # as asked; the planner completes them
    prompt: str | tuple[int, ...] | None = (
        None  # text or token ids that are read as they are, without a template
    )
    tools: Tools = NO_TOOLS
    tool_choice: ToolChoice = ToolChoice()
    parallel_tool_calls: bool = True
    num_outputs: int = 1
    stream: bool = False
    include_usage: bool = False
    counts_always: bool = False  # the usage so far in every chunk of a stream
    logprobs: bool = False
    top_logprobs: int = 0
    return_token_ids: bool = False
    template_kwargs: dict[str, object] = {}
    continues_last_message: bool = False
    named_episodes: tuple[str, ...] = ()  # episode ids the body names
    returned_ids: tuple[str, ...] = ()  # ids in the body that a reply may have minted, in its order
    previous_reply: str | None = None  # a reply whose conversation the messages continue
    session: str | None = None  # the runtime's own id of one, in the body
    cache_key: str | None = None  # with which the client marks calls of one conversation
    notes: tuple[str, ...] = ()  # what was left out of the body or brought to another form
    echo: object = None  # what the dialect shows of the body in its reply; nothing else reads it
    images: tuple[Image, ...] = ()  # of all messages, in order
    body_digest: str = ""  # if it was made with the messages' hashes
    num_instructions: int = 0  # messages at the start that a call which names the reply sends anew
    keeps_messages: bool = (
        False  # a later call may name the reply instead of sending the conversation
    )
    refers_to: tuple[
        str, ...
    ] = ()  # turns of whose replies the body names parts without holding them
    complete: "Callable[[Mapping[str, ReplyChoice]], Request] | None" = None  # with those replies

    @property
    def offered_tools(self) -> Tools:
        """The tools the prompt shows: none when the caller forbids calling."""
        return NO_TOOLS if self.tool_choice.mode == "none" else self.tools


class ToolCall(msgspec.Struct, frozen=True):
    id: str
    name: str
    arguments: str  # JSON text as generated
    position: int = 0  # how many characters of content come before it


class TokenLogprob(msgspec.Struct, frozen=True, omit_defaults=True):
    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list["TokenLogprob"] | None = None  # None inside a top_logprobs list


class ReplyChoice(msgspec.Struct, frozen=True, kw_only=True):
    index: int
    content: str | None
    reasoning: str | None
    tool_calls: tuple[ToolCall, ...]
    finish_reason: str
    stop_text: str | None = None  # the caller's stop string that ended it
    logprobs: list[TokenLogprob] | None = None
    token_ids: list[int] | None = None


class Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int = 0  # of the output tokens


class ReplyHead(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a reply when its first token arrives."""

    turn_id: str
    episode_id: str
    created: int
    model: str
    policy_version: int
    usage: Usage  # so far
    prompt_token_ids: list[int] | None = None


class Reply(ReplyHead, frozen=True, kw_only=True):
    """A committed turn as its caller may see it; this is what a retried call gets again."""

    choices: tuple[ReplyChoice, ...]
    completed: int = 0  # when its last token was sampled
