"""One attempt at one task, as the program that runs the agent sees it.

    with Turngate().episode(task="17", group="task-17", group_size=8) as episode:
        answer = my_agent(episode.openai())
        episode.reward(float(answer == "42"))

The block opens the episode and seals it: as `succeeded`, as `failed` if an exception leaves it, as `aborted` if that exception is
an interruption, which says nothing about the model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote
from uuid import uuid4

from turngate.environment import agent_environment
from turngate.errors import NotOpen, TurngateError
from turngate.http.exchange import Exchange
from turngate.http.transport import Call
from turngate.operation import Awaiting, Blocking, finish, operation
from turngate.records.decoding import decode, decode_list
from turngate.records.episode import (
    EpisodeDetail,
    EpisodeSummary,
    History,
    Opened,
    Outcome,
    RewardAnswer,
    TokenSequence,
)
from turngate.sdks import AwaitingSdks, BlockingSdks

if TYPE_CHECKING:
    from anthropic import Anthropic, AsyncAnthropic
    from openai import AsyncOpenAI, OpenAI

MODEL = "policy"
# Calls of a held-out episode carry it too, for gateways that decide by the call.
HELD_OUT = {"X-Turngate-Turn-Kind": "side"}


@dataclass(frozen=True, slots=True)
class EpisodeSpec:
    """What is said when the episode opens. A held-out episode is measured and never trains."""

    task: str | None = None
    group: str | None = None
    group_size: int | None = None
    held_out: bool = False
    reward_deadline_seconds: float | None = None
    metadata: Mapping[str, object] = field(default_factory=dict)
    history: History | None = None
    model: str = MODEL
    idempotency_key: str = field(default_factory=lambda: uuid4().hex)

    @property
    def body(self) -> dict[str, object]:
        given = {
            "task_id": self.task,
            "group_id": self.group,
            "group_size": self.group_size,
            "reward_deadline_seconds": self.reward_deadline_seconds,
            "metadata": dict(self.metadata) or None,
            "history": self.history,
        }
        return {name: value for name, value in given.items() if value is not None}

    @property
    def headers(self) -> dict[str, str]:
        return {"Idempotency-Key": self.idempotency_key, **(HELD_OUT if self.held_out else {})}


class EpisodeOperations:
    """What both kinds of episodes do."""

    def __init__(self, exchange: Exchange, spec: EpisodeSpec, opened: Opened | None = None) -> None:
        self.spec = spec
        self.reward_value: float | None = None  # the episode's own, as last posted here
        self._exchange = exchange
        self._opened = opened
        self._is_complete = False

    @property
    def opened(self) -> Opened:
        """What the gateway gave when it was opened."""
        if self._opened is None:
            raise NotOpen("the episode is not open; use it in a `with` block, or call open() first")
        return self._opened

    @property
    def id(self) -> str:
        return self.opened.id

    @property
    def group_id(self) -> str:
        return self.opened.group_id

    @property
    def api_key(self) -> str:
        """Opens this episode and nothing else, and cannot reward it."""
        return self.opened.api_key

    @property
    def root(self) -> str:
        """The base URL for Anthropic's SDK and Claude Code."""
        return f"{self._exchange.transport.root}/e/{quote(self.id, safe='')}"

    @property
    def base_url(self) -> str:
        """The base URL for whatever speaks OpenAI's dialects."""
        return f"{self.root}/v1"

    @property
    def model(self) -> str:
        """The name to ask for: `policy`, or one version of it while a policy is evaluated."""
        return self.spec.model

    def env(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """Environment variables that lead an agent in another process here; with a `base`, a whole environment."""
        return agent_environment(self, base)

    @operation
    async def open(self) -> Opened:
        """Open it unless it is open; waits while the gateway has no room."""
        return await self._start()

    @operation
    async def chat(self, /, messages: Sequence[Mapping[str, object]], **fields: object) -> str:
        """One turn without any SDK: the text of the reply to these messages. `fields` go into the body."""
        path = f"/e/{quote(self.id, safe='')}/v1/chat/completions"
        body = {"model": self.model, "messages": list(messages), **fields}
        kind = HELD_OUT if self.spec.held_out else {}
        call = Call("POST", path, body=body, headers={"Idempotency-Key": uuid4().hex, **kind})
        match await self._exchange.ask(call):
            case {"choices": [{"message": {"content": str(text)}}, *_]}:
                return text
        return ""  # the model only called tools

    @operation
    async def reward(
        self,
        value: float,
        *,
        name: str = "reward",
        turn_id: str | None = None,
        completion_id: str | None = None,
        choice_index: int | None = None,
        complete: bool = False,
        idempotency_key: str | None = None,
    ) -> RewardAnswer:
        """Reward the episode, one of its turns, or the reply with this id; again, for the same place and name, amends it."""
        address = {"completion_id": completion_id} if completion_id else {"episode_id": self.id}
        body = {
            **address,
            "value": float(value),
            "name": name,
            "turn_id": turn_id,
            "choice_index": choice_index,
            "complete": complete,
            "idempotency_key": idempotency_key or uuid4().hex,
        }
        given = {field: content for field, content in body.items() if content is not None}
        answer = decode(
            RewardAnswer, await self._exchange.ask(Call("POST", "/v1/rewards", body=given))
        )
        if turn_id is None and completion_id is None:
            self.reward_value = answer.value
        self._is_complete = self._is_complete or complete
        return answer

    @operation
    async def complete(
        self, status: Outcome = "succeeded", *, truncated: bool = False
    ) -> EpisodeSummary:
        """Seal it: no more turns. Rewards may still come. Leaving the `with` block does this."""
        return await self._complete(status, truncated)

    @operation
    async def show(self) -> EpisodeDetail:
        """Its turns and rewards, and how it ended."""
        return decode(EpisodeDetail, await self._exchange.ask(Call("GET", self._path)))

    @operation
    async def sequences(self) -> list[TokenSequence]:
        """The rows that a trainer receives."""
        call = Call("GET", self._path, query={"view": "sequences"})
        return decode_list(TokenSequence, await self._exchange.ask(call))

    @operation
    async def delete(self) -> None:
        """Discard it and, if it was not trained, its data."""
        await self._exchange.ask(Call("DELETE", self._path))
        self._is_complete = True

    @property
    def _path(self) -> str:
        return f"/v1/episodes/{quote(self.id, safe='')}"

    async def _start(self) -> Opened:
        if self._opened is None:
            call = Call("POST", "/v1/episodes", body=self.spec.body, headers=self.spec.headers)
            self._opened = decode(Opened, await self._exchange.ask(call))
        return self._opened

    async def _complete(self, status: Outcome, truncated: bool) -> EpisodeSummary:
        body = {"status": status, "truncated": truncated}
        call = Call("POST", f"{self._path}/complete", body=body)
        summary = decode(EpisodeSummary, await self._exchange.ask(call))
        self._is_complete = True
        return summary

    async def _leave(self, error: BaseException | None) -> None:
        if self._is_complete:
            return
        if error is None:
            await self._complete("succeeded", False)
            return
        try:
            await self._complete("failed" if isinstance(error, Exception) else "aborted", False)
        except TurngateError as refusal:  # the error of the block is the one to see
            error.add_note(f"and episode {self.id} could not be completed: {refusal}")

    def _sdk_options(self, options: dict[str, Any]) -> dict[str, Any]:
        headers = HELD_OUT if self.spec.held_out else {}
        chosen = options.pop("default_headers", None) or {}
        return {"api_key": self.api_key, "default_headers": {**headers, **chosen}, **options}


class Episode(EpisodeOperations, Blocking):
    """An episode of a blocking client; see the module's example."""

    def __init__(
        self,
        exchange: Exchange,
        sdks: BlockingSdks,
        spec: EpisodeSpec,
        opened: Opened | None = None,
        *,
        owner: object = None,
    ) -> None:
        super().__init__(exchange, spec, opened)
        self._sdks = sdks
        self._owner = owner  # kept alive: its end closes the connections

    def openai(self, **options: Any) -> "OpenAI":
        """A client of the stock OpenAI SDK; `options` are those of its `with_options`."""
        return self._sdks.openai.with_options(base_url=self.base_url, **self._sdk_options(options))

    def anthropic(self, **options: Any) -> "Anthropic":
        """A client of the stock Anthropic SDK; `options` are those of its `with_options`."""
        return self._sdks.anthropic.with_options(base_url=self.root, **self._sdk_options(options))

    def __enter__(self) -> Self:
        finish(self._start())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        finish(self._leave(error))


class AsyncEpisode(EpisodeOperations, Awaiting):
    """An episode of an awaiting client: the same operations, awaited."""

    def __init__(
        self,
        exchange: Exchange,
        sdks: AwaitingSdks,
        spec: EpisodeSpec,
        opened: Opened | None = None,
    ) -> None:
        super().__init__(exchange, spec, opened)
        self._sdks = sdks

    def openai(self, **options: Any) -> "AsyncOpenAI":
        """A client of the stock OpenAI SDK; `options` are those of its `with_options`."""
        return self._sdks.openai.with_options(base_url=self.base_url, **self._sdk_options(options))

    def anthropic(self, **options: Any) -> "AsyncAnthropic":
        """A client of the stock Anthropic SDK; `options` are those of its `with_options`."""
        return self._sdks.anthropic.with_options(base_url=self.root, **self._sdk_options(options))

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._leave(error)
