"""Episodes over HTTP: open, show, seal, delete; and the groups that they are compared in."""

from hashlib import sha256
from typing import Annotated, Literal

import orjson
from fastapi import APIRouter, Query, Request

from gateway.api import episode_views
from gateway.api.dependencies import (
    EpisodeId,
    GroupId,
    Opener,
    Rewarder,
    ServicesDep,
    Viewer,
    check_own,
)
from gateway.api.documented_errors import IN_CONFLICT, NOT_FOUND, OF_CALLS_WITH_A_KEY
from gateway.api.requests import Completion, EpisodeBody
from gateway.api.responses import (
    Deleted,
    EpisodeDetail,
    EpisodeObject,
    EpisodePage,
    GroupObject,
    OpenedEpisode,
    SequencesView,
    TokensView,
)
from gateway.api.span_tree import SpanTree
from gateway.errors import InvalidValue
from gateway.request.episode_address import new_episode_id, turn_kind
from gateway.request.identifiers import Identifier, TaskId
from gateway.services import Services
from gateway.turn.idempotency import chosen_key, episode_of_key
from rollout.episode.episode_records import EpisodeSpec
from rollout.episode.episode_status import EpisodeStatus
from rollout.errors import NoSuchEpisode, NoSuchGroup

router = APIRouter(prefix="/v1", tags=["episodes"], responses=OF_CALLS_WITH_A_KEY)


@router.post("/episodes", status_code=201, responses=IN_CONFLICT)
async def open_episode(
    request: Request, services: ServicesDep, caller: Opener, body: EpisodeBody | None = None
) -> OpenedEpisode:
    """Open an episode and get the two strings an agent needs: a key and a base URL.

    A repeat with the same `Idempotency-Key` header and body gets the same episode.
    """
    spec, max_group_size = body or EpisodeBody(), services.settings.max_group_size
    if (spec.group_size or 1) > max_group_size:
        raise InvalidValue(
            f"group_size must be at most {max_group_size}, the limit of this installation",
            param="group_size",
        )
    key = request.headers.get("idempotency-key", "").encode("latin-1")
    opened = episode_of_key(chosen_key(key), key_id=caller.key_id, purpose="open") if key else None
    header = await services.stores.of(caller.project).open(
        EpisodeSpec(
            id=opened or new_episode_id(),
            group_id=spec.group_id,
            group_size=spec.group_size,
            task_id=spec.task_id or "",
            reward_deadline_seconds=spec.reward_deadline_seconds,
            kind=turn_kind(dict(request.scope["headers"])) or "train" if caller.trains else "side",
            metadata_json=orjson.dumps(spec.metadata).decode() if spec.metadata else "",
            key_id=caller.key_id,
            history=spec.history,
            max_group_size=max_group_size,
            max_open_episodes=caller.limits.max_open_episodes or 0,
            is_trained=caller.trains,
        ),
        body_digest=sha256(await request.body()).hexdigest() if key else "",
    )
    return OpenedEpisode(
        id=header.id,
        api_key=await services.authenticator.episode_key(caller, header.id),
        base_url=f"{_base_url(request, services)}/e/{header.id}/v1",
        group_id=header.group_id,
        status=header.status.value,
        history=header.history,
    )


@router.get("/episodes", responses=NOT_FOUND)
async def list_episodes(
    services: ServicesDep,
    caller: Viewer,
    *,
    status: EpisodeStatus | None = None,
    group_id: Identifier | Literal[""] = "",
    task_id: TaskId = "",
    after: Identifier | Literal[""] = "",
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> EpisodePage:
    """List the newest first; `after` is the last id of the page before."""
    listed, has_more = await services.stores.of(caller.project).episodes(
        status=status,
        group_id=group_id,
        task_id=task_id,
        after=after,
        limit=limit,
    )
    return EpisodePage(
        data=[episode_views.summary(episode) for episode in listed], has_more=has_more
    )


@router.get("/episodes/{id}", responses=NOT_FOUND)
async def get_episode(
    episode_id: EpisodeId,
    services: ServicesDep,
    caller: Viewer,
    view: Literal["turns", "tokens", "sequences"] = "turns",
) -> EpisodeDetail | TokensView | SequencesView:
    """Show the turns and rewards, the tree of token spans, or the sequences a trainer would receive now.

    Once the episode's data has expired, show how it ended, from the ledger.
    """
    episode = await services.stores.of(caller.project).episode(episode_id)
    if episode is None:
        remembered = await services.ledger.episode(caller.project, episode_id)
        if remembered is None or view != "turns":
            raise NoSuchEpisode(episode_id)
        return episode_views.remembered(remembered)
    match view:
        case "turns":
            return episode_views.detail(episode)
        case "tokens":
            return SpanTree(episode, services.tokenizer).view()
        case "sequences":
            return episode_views.sequences(episode, services.tokenizer)


@router.post("/episodes/{id}/complete", responses=NOT_FOUND | IN_CONFLICT)
async def complete_episode(
    episode_id: EpisodeId,
    services: ServicesDep,
    caller: Rewarder,
    completion: Completion | None = None,
) -> EpisodeObject:
    """Seal an episode: no more turns; rewards may still come."""
    check_own(caller, [episode_id])
    how = completion or Completion()
    header = await services.stores.of(caller.project).seal(
        episode_id, outcome=how.status, truncated=how.truncated
    )
    return EpisodeObject(**episode_views.episode_fields(header))


@router.delete("/episodes/{id}", responses=NOT_FOUND | IN_CONFLICT)
async def delete_episode(episode_id: EpisodeId, services: ServicesDep, caller: Rewarder) -> Deleted:
    """Discard an episode and, if it was not trained, its data."""
    check_own(caller, [episode_id])
    await services.stores.of(caller.project).delete(episode_id)
    return Deleted(object="episode.deleted", id=episode_id)


@router.get("/groups/{id}", responses=NOT_FOUND)
async def get_group(
    group_id: GroupId,
    services: ServicesDep,
    caller: Viewer,
) -> GroupObject:
    """Show a group's members and when it will be trained with those it has."""
    group = await services.stores.of(caller.project).group(group_id)
    if group is None:
        raise NoSuchGroup(group_id)
    return episode_views.group(group)


def _base_url(request: Request, services: Services) -> str:
    return (services.settings.base_url or str(request.base_url)).rstrip("/")
