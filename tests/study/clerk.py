"""The demo's clerk at work on one task, token by token, and the episode that a gateway would have recorded of it.

Messages are read and prompts go on as the gateway does it: its parser, the model's own template, what was sampled stays as sampled.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from clients.examples.shop_clerk.clerk import MAX_TURN_TOKENS, MAX_TURNS
from clients.examples.shop_clerk.shop import TOOLS
from deploy.demo.clerk.tasks import Task
from deploy.demo.harness import Judge
from gateway.families.registry import output_reader
from gateway.parsing.deltas import Message
from gateway.parsing.output_reader import OutputReader
from rollout.chat_template.chat_template import ChatTemplate
from rollout.episode.episode_records import EpisodeView
from rollout.episode.reward import RewardPlace, Rewards
from rollout.episode.turn import Anchor, Output, OutputFlags, Turn, VersionInterval, pack_tokens
from rollout.tokenizer.tokenizer import Tokenizer
from tests.trainer.headers import header


@dataclass(frozen=True, slots=True)
class Language:
    """What the model's words mean."""

    tokenizer: Tokenizer
    template: ChatTemplate
    reader: OutputReader

    @classmethod
    def of(cls, model_dir: Path) -> Self:
        tokenizer = Tokenizer.load(model_dir)
        template = ChatTemplate.load(model_dir, tokenizer)
        return cls(tokenizer, template, output_reader(template.source))

    @property
    def eos_ids(self) -> frozenset[int]:
        return self.tokenizer.eos_ids

    def prompt(self, messages: Sequence[dict[str, Any]]) -> list[int]:
        return self.tokenizer.encode(self.template.render(messages, TOOLS))

    def read(self, ids: Sequence[int]) -> Message:
        """What these tokens say, the end of the turn aside."""
        said = ids[:-1] if ids[-1] in self.eos_ids else ids
        return self.reader.read(self.tokenizer.decode(said), "")

    def rest(self, messages: Sequence[dict[str, Any]], start: int, last_id: int) -> list[int]:
        """The tokens from the output that is `messages[start - 1]` to the next one."""
        boundary = self.template.suffix(messages, TOOLS, start)
        assert boundary is not None, "the demo's template repeats what was said"
        return self.template.bridge(boundary, last_id)


class Clerk:
    """A speaker that answers one question."""

    def __init__(
        self, task: Task, language: Language, judge: Judge, *, name: str, version: int
    ) -> None:
        self._task, self._language, self._judge = task, language, judge
        self._name, self._version = name, version
        self._messages: list[dict[str, Any]] = [{"role": "user", "content": task.question}]
        self.prompt = language.prompt(self._messages)
        self._context = self.prompt  # of the turn under way
        self._unread: deque[int] = deque()
        self._ids: list[int] = []
        self._logprobs: list[float] = []
        self._turns: list[Turn] = []
        self._answer: str | None = None

    @property
    def is_done(self) -> bool:
        return self._answer is not None

    @property
    def reward(self) -> float:
        assert self._answer is not None
        return self._judge(self._task, self._answer)

    @property
    def episode(self) -> EpisodeView:
        rewards = Rewards({RewardPlace(None, None, "reward"): self.reward})
        return EpisodeView(header(self._name, self._version), tuple(self._turns), rewards)

    def step(self, sampled: int, logprob: float) -> int:
        if self._unread:
            return self._unread.popleft()
        self._ids.append(sampled)
        self._logprobs.append(logprob)
        if sampled in self._language.eos_ids or len(self._ids) == MAX_TURN_TOKENS:
            self._end_turn()
        return sampled

    def _end_turn(self) -> None:
        self._turns.append(self._turn())
        said = self._language.read(self._ids)
        if not said.tool_calls:
            self._answer = said.content
        elif len(self._turns) == MAX_TURNS:
            self._answer = ""
        else:
            self._use_tools(said)
        self._ids, self._logprobs = [], []

    def _use_tools(self, said: Message) -> None:
        self._messages.append(
            {
                "role": "assistant",
                "content": said.content,
                "tool_calls": [
                    {
                        "id": call.id,
                        "type": "function",
                        "function": {"name": call.name, "arguments": call.arguments},
                    }
                    for call in said.tool_calls
                ],
            }
        )
        spoken = len(self._messages)
        self._messages += [
            {
                "role": "tool",
                "tool_call_id": call.id,
                "content": self._task.shop.call(call.name, call.arguments),
            }
            for call in said.tool_calls
        ]
        self._context = self._language.rest(self._messages, spoken, self._ids[-1])
        self._unread.extend(self._context)

    def _turn(self) -> Turn:
        has_ended = self._ids[-1] in self._language.eos_ids
        before = self._turns[-1] if self._turns else None
        output = Output.sampled(
            self._ids,
            self._logprobs,
            versions=[VersionInterval(self._version, 0, len(self._ids))],
            finish_reason="stop" if has_ended else "length",
            flags=OutputFlags.NONE if has_ended else OutputFlags.TRUNCATED,
        )
        return Turn(
            f"{self._name}-{len(self._turns)}",
            "train",
            0,
            before and Anchor(before.id, 0, before.num_output_tokens),
            pack_tokens(self._context),
            (output,),
        )
