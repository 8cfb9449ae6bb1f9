"""Policies and training of the caller's project, for its admins.

Engines are touched only for the project whose policy they serve.
"""

import asyncio

from fastapi import APIRouter

from gateway.api.admin_responses import (
    Activation,
    AdmissionObject,
    PolicyObject,
    SwapObject,
    TrainingObject,
)
from gateway.api.dependencies import Admin, Observer, ServicesDep
from gateway.api.documented_errors import IN_CONFLICT, NOT_FOUND, OF_CALLS_WITH_A_KEY
from gateway.api.policy_ranking import PolicyRanking
from gateway.api.responses import ListObject
from gateway.errors import NotFound
from gateway.services import Services
from rollout.engine.swap import reconcile
from rollout.policies import Policy, verify
from rollout.store.store import Store

router = APIRouter(prefix="/v1", tags=["policies"], responses=OF_CALLS_WITH_A_KEY)


@router.get("/policies")
async def list_policies(services: ServicesDep, caller: Observer) -> ListObject[PolicyObject]:
    """List every published policy, newest first, with what its held-out episodes earned."""
    store = services.stores.of(caller.project)
    active, ranking = await store.policy(), await PolicyRanking.read(services, store.project)
    known = await _policies(services, store, active)
    return ListObject(data=[_policy(p, active, ranking) for p in reversed(known)])


@router.get("/policies/{version}", responses=NOT_FOUND)
async def get_policy(version: int, services: ServicesDep, caller: Observer) -> PolicyObject:
    """Show one policy, what its held-out episodes earned and whether it is the best on disk."""
    store = services.stores.of(caller.project)
    policy, active = await _find(services, store, version), await store.policy()
    return _policy(policy, active, await PolicyRanking.read(services, store.project))


@router.post("/policies/{version}/activate", responses=NOT_FOUND | IN_CONFLICT)
async def activate_policy(version: int, services: ServicesDep, caller: Admin) -> Activation:
    """Serve this version, back or forward, whatever is trained, until released."""
    store = services.stores.of(caller.project)
    policy = await _find(services, store, version)
    await asyncio.to_thread(verify, policy)  # before pinning: a damaged policy would stay pinned
    await store.pin(policy)
    return await _activation(services, store, version, pinned=True)


@router.post("/policies/release")
async def release_policy(services: ServicesDep, caller: Admin) -> Activation:
    """Serve the latest trained policy again."""
    store = services.stores.of(caller.project)
    await store.unpin()
    policy = await store.policy()
    return await _activation(services, store, policy.version if policy else None, pinned=False)


@router.get("/training")
async def get_training(services: ServicesDep, caller: Observer) -> TrainingObject:
    """Show where training stands."""
    return await _training(services.stores.of(caller.project))


@router.post("/training/pause")
async def pause_training(services: ServicesDep, caller: Admin) -> TrainingObject:
    """Let the trainer claim no more groups; serving and recording go on."""
    store = services.stores.of(caller.project)
    await store.pause_training()
    return await _training(store)


@router.post("/training/resume")
async def resume_training(services: ServicesDep, caller: Admin) -> TrainingObject:
    """Let the trainer claim groups again."""
    store = services.stores.of(caller.project)
    await store.resume_training()
    return await _training(store)


async def _policies(services: Services, store: Store, active: Policy | None) -> list[Policy]:
    """Policies of the ledger, and the active one, which may not be in the ledger yet."""
    known = await services.ledger.policies(store.project)
    missing = active is not None and all(p.version != active.version for p in known)
    return sorted([*known, active] if active and missing else known, key=lambda p: p.version)


async def _find(services: Services, store: Store, version: int) -> Policy:
    for policy in await _policies(services, store, await store.policy()):
        if policy.version == version:
            return policy
    raise NotFound(
        f"no policy {version}; GET /v1/policies lists them",
        param="version",
        code="policy_not_found",
    )


async def _activation(
    services: Services, store: Store, version: int | None, *, pinned: bool
) -> Activation:
    is_served = store.project == services.store.project
    # None: another process is swapping already, and brings all engines to this policy.
    swaps = await reconcile(services.pool.engines, store) if is_served else None
    shown = [SwapObject.model_validate(swap) for swap in swaps or []]
    return Activation(version=version, pinned=pinned, swaps=shown)


async def _training(store: Store) -> TrainingObject:
    state = await store.training()
    policy = await store.policy()
    totals = await store.totals()
    step = _number(state.get("step"))
    return TrainingObject(
        step=None if step is None else int(step),
        policy_version=policy.version if policy else None,
        pinned=await store.pinned(),
        paused=state.get("paused") == "1",
        backlog=dict(totals.groups),
        admission=AdmissionObject(
            limit=totals.places.limit,
            key_limit=totals.places.key_limit,
            reserved=totals.reserved_episodes,
            claimed=totals.places.claimed,
            by_key=totals.places.by_key,
        ),
        staleness=_number(state.get("staleness")),
        metrics={
            name: text if (number := _number(text)) is None else number
            for name, text in state.items()
        },
    )


def _policy(policy: Policy, active: Policy | None, ranking: PolicyRanking) -> PolicyObject:
    return PolicyObject(
        version=policy.version,
        parent=policy.parent,
        path=policy.path,
        digest=policy.digest,
        created=policy.created,
        is_active=active is not None and active.version == policy.version,
        is_on_disk=policy.version in ranking.on_disk,
        is_best=policy.version == ranking.best,
        evaluation=ranking.evaluation(policy.version),
    )


def _number(text: str | None) -> float | None:
    """None if there is no text or it is not a number."""
    try:
        return float(text or "")
    except ValueError:
        return None
