"""Whether the process runs, whether it can serve, and the state that a scrape of its metrics reads."""

import asyncio
from typing import Literal

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from gateway.api.dependencies import ServicesDep
from gateway.api.policy_ranking import PolicyRanking
from gateway.metrics import EngineReading, EvaluationReading, Snapshot
from gateway.services import Services
from rollout.errors import LedgerUnavailable, StoreError

router = APIRouter(tags=["health"])


class Health(BaseModel):
    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    status: Literal["ready", "unavailable"]
    missing: dict[str, str] = {}


@router.get("/healthz")
async def healthz() -> Health:
    """Say that the process lives."""
    return Health()


@router.get(
    "/readyz",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "A turn cannot be taken now"}},
)
async def readyz(services: ServicesDep) -> Response:
    """Say whether a turn could be taken now and, if not, what is missing."""
    missing = await _missing(services)
    if not missing:
        return JSONResponse({"status": "ready"})
    body = {"status": "unavailable", "missing": missing}
    return JSONResponse(body, status_code=503, headers={"retry-after": "2"})


async def _missing(services: Services) -> dict[str, str]:
    missing = {}
    try:
        await services.store.ping()
    except StoreError as error:
        missing["store"] = str(error)
    states = services.pool.snapshot()
    if not any(state.is_up for state in states):
        reasons = (f"{state.url}: {state.why_down or 'serves another policy'}" for state in states)
        missing["engine"] = "; ".join(reasons)
    return missing


async def read_snapshot(services: Services) -> Snapshot:
    """Read the state of the store, the pool and the ledger for one scrape; without totals if the store is down."""
    engines = tuple(
        EngineReading(s.url, s.is_up, s.in_flight, s.policy_version)
        for s in services.pool.snapshot()
    )
    history_bytes = services.turns.history_bytes
    try:
        totals, policy = await asyncio.gather(services.store.totals(), services.store.policy())
    except StoreError:
        return Snapshot(engines=engines, history_bytes=history_bytes)
    return Snapshot(
        engines=engines,
        policy_version=policy.version if policy is not None else None,
        totals=totals,
        evaluations=await _evaluations(services),
        history_bytes=history_bytes,
    )


async def _evaluations(services: Services) -> tuple[EvaluationReading, ...]:
    """Only of policies on disk, which stay few in a long run. Empty while the ledger or the weights directory is not readable."""
    try:
        ranking = await PolicyRanking.read(services, services.store.project)
    except (LedgerUnavailable, OSError):
        return ()
    return tuple(
        EvaluationReading(version, each.mean_reward, each.episodes, version == ranking.best)
        for version, each in ranking.evaluations.items()
        if version in ranking.on_disk
    )
