"""Keys and projects, for the admin. A key's secret is shown once, when the key is made."""

from typing import Annotated

from fastapi import APIRouter, Path

from gateway.access.api_keys import new_project_key
from gateway.api.dependencies import Admin, ServicesDep
from gateway.api.requests import KeyBody, ProjectBody
from gateway.api.responses import Deleted, KeyObject, ListObject, NewKey, ProjectObject
from gateway.errors import NotFound
from gateway.services import Services
from rollout.ledger.records import Key, Project

router = APIRouter(prefix="/v1", tags=["administration"])


@router.post("/keys", status_code=201)
async def create_key(body: KeyBody, services: ServicesDep, caller: Admin) -> NewKey:
    """Make a key for a project."""
    project = body.project or caller.project
    if await services.authenticator.episode_secret(project) is None:
        raise _no_project(project)
    secret = new_project_key()
    limits = {
        "requests_per_minute": body.requests_per_minute,
        "max_concurrent": body.max_concurrent,
    }
    key = await services.ledger.create_key(
        secret,
        project=project,
        scopes=body.scopes,
        name=body.name,
        limits={name: limit for name, limit in limits.items() if limit is not None},
    )
    return NewKey(key=secret, **_key(key).model_dump())


@router.get("/keys")
async def list_keys(
    services: ServicesDep, caller: Admin, project: str | None = None
) -> ListObject[KeyObject]:
    """List keys without their secrets, oldest first."""
    return ListObject(data=[_key(key) for key in await services.ledger.keys(project)])


@router.delete("/keys/{id}")
async def delete_key(
    key_id: Annotated[str, Path(alias="id")], services: ServicesDep, caller: Admin
) -> Deleted:
    """Delete a key; this gateway refuses it at once, others within half a minute."""
    if not await services.ledger.delete_key(key_id):
        raise NotFound(f"no key {key_id[:64]}", code="key_not_found")
    services.authenticator.forget(key_id)
    return Deleted(object="key.deleted", id=key_id)


@router.post("/projects", status_code=201)
async def create_project(body: ProjectBody, services: ServicesDep, caller: Admin) -> ProjectObject:
    """Make a project, or change the history policy of one that exists."""
    project = await services.ledger.project(body.name)
    if body.history is not None:
        await services.stores.of(project.name).set_history(body.history)
    return await _project(project, services)


@router.get("/projects")
async def list_projects(services: ServicesDep, caller: Admin) -> ListObject[ProjectObject]:
    """List all projects."""
    return ListObject(data=[await _project(p, services) for p in await services.ledger.projects()])


def _key(key: Key) -> KeyObject:
    return KeyObject(
        id=key.id,
        project=key.project,
        name=key.name,
        hint=key.hint,
        scopes=sorted(key.scopes),
        requests_per_minute=key.limits.get("requests_per_minute"),
        max_concurrent=key.limits.get("max_concurrent"),
        created=key.created,
    )


async def _project(project: Project, services: Services) -> ProjectObject:
    history = await services.stores.of(project.name).history()
    return ProjectObject(
        id=project.name, name=project.name, created=project.created, history=history
    )


def _no_project(name: str) -> NotFound:
    return NotFound(
        f"no project {name}; create it with POST /v1/projects",
        param="project",
        code="project_not_found",
    )
