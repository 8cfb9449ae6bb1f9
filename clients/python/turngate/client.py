"""`Turngate` and `AsyncTurngate`: one key at one gateway. Their operations are written once, in `ClientOperations`."""

import weakref
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from typing import Self, TypedDict, Unpack
from urllib.parse import quote
from uuid import uuid4

from turngate.connection import Connection
from turngate.episode import AsyncEpisode, Episode, EpisodeSpec
from turngate.http.exchange import Exchange
from turngate.http.transport import AwaitingTransport, BlockingTransport, Call
from turngate.operation import Awaiting, Blocking, operation
from turngate.records.decoding import decode, decode_list
from turngate.records.episode import (
    EpisodeDetail,
    EpisodeSummary,
    Group,
    History,
    NewReward,
    Opened,
    Outcome,
    RewardAnswer,
    Status,
    TokenSequence,
)
from turngate.records.key import Key, NewKey
from turngate.records.policy import Activation, Model, Policy, Training
from turngate.sdks import AwaitingSdks, BlockingSdks

TIMEOUT_SECONDS = 60.0
MAX_RETRIES = 4  # the waits of four add up to about 7 seconds
PATIENCE_SECONDS = (
    600.0  # a training step, during which no new episode is admitted, can take minutes
)
PAGE = 100


class EpisodeOptions(TypedDict, total=False):
    """What `episode()` takes."""

    task: str | None
    group: str | None
    group_size: int | None
    held_out: bool
    reward_deadline_seconds: float | None
    metadata: Mapping[str, object]
    history: History | None
    model: str
    idempotency_key: str


class ClientOperations:
    """What both kinds of clients do."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    @operation
    async def rewards(self, rewards: Iterable[NewReward]) -> list[RewardAnswer]:
        """Post many rewards at once: all are recorded, or none."""
        body = [_reward_body(each) for each in rewards]
        content = await self._exchange.ask(Call("POST", "/v1/rewards", body=body))
        return decode_list(RewardAnswer, content)

    @operation
    async def get_episode(self, episode_id: str) -> EpisodeDetail:
        """Its turns and rewards, and how it ended."""
        return decode(EpisodeDetail, await self._exchange.ask(Call("GET", _episode(episode_id))))

    @operation
    async def episodes(
        self,
        *,
        status: Status | None = None,
        group: str = "",
        task: str = "",
        limit: int = 100,
    ) -> list[EpisodeSummary]:
        """The newest episodes, at most `limit`."""
        filters = {"status": status or "", "group_id": group, "task_id": task}
        query = {name: value for name, value in filters.items() if value}
        found: list[EpisodeSummary] = []
        while len(found) < limit:
            page = {"limit": min(PAGE, limit - len(found))}
            after = {"after": found[-1].id} if found else {}
            call = Call("GET", "/v1/episodes", query={**query, **page, **after})
            content = await self._exchange.ask(call)
            found += decode_list(EpisodeSummary, content)
            if not content.get("has_more"):
                break
        return found

    @operation
    async def sequences(self, episode_id: str) -> list[TokenSequence]:
        """The rows that a trainer receives of an episode."""
        call = Call("GET", _episode(episode_id), query={"view": "sequences"})
        return decode_list(TokenSequence, await self._exchange.ask(call))

    @operation
    async def complete_episode(
        self, episode_id: str, status: Outcome = "succeeded"
    ) -> EpisodeSummary:
        """Seal an episode that another program opened."""
        call = Call("POST", f"{_episode(episode_id)}/complete", body={"status": status})
        return decode(EpisodeSummary, await self._exchange.ask(call))

    @operation
    async def delete_episode(self, episode_id: str) -> None:
        """Discard an episode and, if it was not trained, its data."""
        await self._exchange.ask(Call("DELETE", _episode(episode_id)))

    @operation
    async def group(self, group_id: str) -> Group:
        """The members of a group, and when it is trained with those it has."""
        call = Call("GET", f"/v1/groups/{quote(group_id, safe='')}")
        return decode(Group, await self._exchange.ask(call))

    @operation
    async def models(self) -> list[Model]:
        """The alias `policy`, and each version that an engine serves."""
        return decode_list(Model, await self._exchange.ask(Call("GET", "/v1/models")))

    @operation
    async def policies(self) -> list[Policy]:
        """Every published policy, newest first. Needs the scope observe."""
        return decode_list(Policy, await self._exchange.ask(Call("GET", "/v1/policies")))

    @operation
    async def activate(self, version: int) -> Activation:
        """Serve this version, whatever is trained, until `release()`. Needs the scope admin."""
        call = Call("POST", f"/v1/policies/{version}/activate")
        return decode(Activation, await self._exchange.ask(call))

    @operation
    async def release(self) -> Activation:
        """Serve the latest trained policy again. Needs the scope admin."""
        return decode(Activation, await self._exchange.ask(Call("POST", "/v1/policies/release")))

    @operation
    async def training(self) -> Training:
        """Where training stands. Needs the scope observe."""
        return decode(Training, await self._exchange.ask(Call("GET", "/v1/training")))

    @operation
    async def pause_training(self) -> Training:
        """Let the trainer claim no more groups. Needs the scope admin."""
        return decode(Training, await self._exchange.ask(Call("POST", "/v1/training/pause")))

    @operation
    async def resume_training(self) -> Training:
        """Let the trainer claim groups again. Needs the scope admin."""
        return decode(Training, await self._exchange.ask(Call("POST", "/v1/training/resume")))

    @operation
    async def create_key(
        self,
        *,
        name: str = "",
        scopes: Iterable[str] = ("infer", "reward", "read"),
        project: str | None = None,
        expires_in_seconds: int | None = None,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        max_concurrent: int | None = None,
        max_open_episodes: int | None = None,
    ) -> NewKey:
        """Make a key; only this answer holds its secret. Needs the scope admin."""
        given = {
            "name": name,
            "scopes": list(scopes),
            "project": project,
            "expires_in_seconds": expires_in_seconds,
            "requests_per_minute": requests_per_minute,
            "tokens_per_minute": tokens_per_minute,
            "max_concurrent": max_concurrent,
            "max_open_episodes": max_open_episodes,
        }
        body = {field: value for field, value in given.items() if value is not None}
        call = Call("POST", "/v1/keys", body=body, headers={"Idempotency-Key": uuid4().hex})
        return decode(NewKey, await self._exchange.ask(call))

    @operation
    async def keys(self) -> list[Key]:
        """The keys of the project, without their secrets. Needs the scope observe."""
        return decode_list(Key, await self._exchange.ask(Call("GET", "/v1/keys")))

    @operation
    async def delete_key(self, key_id: str) -> None:
        """Delete a key; every gateway refuses it within a second. Needs the scope admin."""
        await self._exchange.ask(Call("DELETE", f"/v1/keys/{quote(key_id, safe='')}"))


class Turngate(ClientOperations, Blocking):
    """A blocking client; many threads may share it."""

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = TIMEOUT_SECONDS,
        max_retries: int = MAX_RETRIES,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self.connection = Connection.of(
            base_url, api_key, timeout=timeout, max_retries=max_retries, patience=patience
        )
        transport = BlockingTransport(self.connection.root, self.connection.headers, timeout)
        super().__init__(Exchange(transport, max_retries=max_retries, patience=patience))
        self._sdks = BlockingSdks(self.connection.root, self.connection.api_key)
        self._close = weakref.finalize(self, _close, transport, self._sdks)

    def episode(self, **options: Unpack[EpisodeOptions]) -> Episode:
        """An episode, which a `with` block opens and completes."""
        return self.episode_of(EpisodeSpec(**options))

    def episode_of(self, spec: EpisodeSpec, opened: Opened | None = None) -> Episode:
        """The same from a record, of an episode that may be open already."""
        return Episode(self._exchange, self._sdks, spec, opened, owner=self)

    def close(self) -> None:
        """Close the connections; the end of the object does so too."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncTurngate(ClientOperations, Awaiting):
    """An awaiting client: `async with AsyncTurngate() as turngate`."""

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = TIMEOUT_SECONDS,
        max_retries: int = MAX_RETRIES,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self.connection = Connection.of(
            base_url, api_key, timeout=timeout, max_retries=max_retries, patience=patience
        )
        self._transport = AwaitingTransport(self.connection.root, self.connection.headers, timeout)
        super().__init__(Exchange(self._transport, max_retries=max_retries, patience=patience))
        self._sdks = AwaitingSdks(self.connection.root, self.connection.api_key)

    def episode(self, **options: Unpack[EpisodeOptions]) -> AsyncEpisode:
        """An episode, which an `async with` block opens and completes."""
        return self.episode_of(EpisodeSpec(**options))

    def episode_of(self, spec: EpisodeSpec, opened: Opened | None = None) -> AsyncEpisode:
        """The same from a record, of an episode that may be open already."""
        return AsyncEpisode(self._exchange, self._sdks, spec, opened)

    async def close(self) -> None:
        await self._sdks.close()
        await self._transport.http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _close(transport: BlockingTransport, sdks: BlockingSdks) -> None:
    sdks.close()
    transport.http.close()


def _episode(episode_id: str) -> str:
    return f"/v1/episodes/{quote(episode_id, safe='')}"


def _reward_body(reward: NewReward) -> dict[str, object]:
    keyed = replace(reward, idempotency_key=reward.idempotency_key or uuid4().hex)
    return {name: value for name, value in asdict(keyed).items() if value is not None}
