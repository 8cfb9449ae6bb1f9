"""Policies and training, for the admin."""

import asyncio

from fastapi import APIRouter

from gateway.api.dependencies import Admin, ServicesDep
from gateway.api.policy_ranking import PolicyRanking
from gateway.api.responses import Activation, ListObject, PolicyObject, SwapObject, TrainingObject
from gateway.errors import NotFound
from gateway.services import Services
from rollout.engine.swap import reconcile
from rollout.policies import Policy, verify

router = APIRouter(prefix="/v1", tags=["policies"])


@router.get("/policies")
async def list_policies(services: ServicesDep, caller: Admin) -> ListObject[PolicyObject]:
    """List every published policy, newest first, with what its held-out episodes earned."""
    active = await services.store.policy()
    policies, ranking = await _policies(services, active), await PolicyRanking.read(services)
    return ListObject(data=[_policy(p, active, ranking) for p in reversed(policies)])


@router.get("/policies/{version}")
async def get_policy(version: int, services: ServicesDep, caller: Admin) -> PolicyObject:
    """Show one policy, what its held-out episodes earned and whether it is the best on disk."""
    policy, active = await _find(services, version), await services.store.policy()
    return _policy(policy, active, await PolicyRanking.read(services))


@router.post("/policies/{version}/activate")
async def activate_policy(version: int, services: ServicesDep, caller: Admin) -> Activation:
    """Serve this version, back or forward, whatever is trained, until released."""
    policy = await _find(services, version)
    await asyncio.to_thread(verify, policy)  # before pinning: a damaged policy would stay pinned
    await services.store.pin(policy)
    return await _activation(services, version, pinned=True)


@router.post("/policies/release")
async def release_policy(services: ServicesDep, caller: Admin) -> Activation:
    """Serve the latest trained policy again."""
    await services.store.unpin()
    policy = await services.store.policy()
    return await _activation(services, policy.version if policy else None, pinned=False)


@router.get("/training")
async def get_training(services: ServicesDep, caller: Admin) -> TrainingObject:
    """Show where training stands."""
    return await _training(services)


@router.post("/training/pause")
async def pause_training(services: ServicesDep, caller: Admin) -> TrainingObject:
    """Let the trainer claim no more groups; serving and recording go on."""
    await services.store.pause_training()
    return await _training(services)


@router.post("/training/resume")
async def resume_training(services: ServicesDep, caller: Admin) -> TrainingObject:
    """Let the trainer claim groups again."""
    await services.store.resume_training()
    return await _training(services)


async def _policies(services: Services, active: Policy | None) -> list[Policy]:
    """Policies of the ledger, and the active one, which may not be in the ledger yet."""
    known = await services.ledger.policies(services.store.project)
    missing = active is not None and all(p.version != active.version for p in known)
    return sorted([*known, active] if active and missing else known, key=lambda p: p.version)


async def _find(services: Services, version: int) -> Policy:
    for policy in await _policies(services, await services.store.policy()):
        if policy.version == version:
            return policy
    raise NotFound(
        f"no policy {version}; GET /v1/policies lists them",
        param="version",
        code="policy_not_found",
    )


async def _activation(services: Services, version: int | None, *, pinned: bool) -> Activation:
    # None: another process is swapping already, and brings all engines to this policy.
    swaps = await reconcile(services.pool.engines, services.store) or []
    shown = [SwapObject.model_validate(swap) for swap in swaps]
    return Activation(version=version, pinned=pinned, swaps=shown)


async def _training(services: Services) -> TrainingObject:
    state = await services.store.training()
    policy = await services.store.policy()
    totals = await services.store.totals()
    step = _number(state.get("step"))
    return TrainingObject(
        step=None if step is None else int(step),
        policy_version=policy.version if policy else None,
        paused=state.get("paused") == "1",
        backlog=dict(totals.groups),
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
