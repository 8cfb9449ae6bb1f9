"""Keys and projects. A key's secret is shown once, when the key is made.

An admin key sees and changes the keys of its own project. Only the root key creates projects and lists all of them.
"""

from typing import Annotated

from fastapi import APIRouter, Path

from gateway.access.api_keys import new_project_key
from gateway.access.authentication import Caller, no_project
from gateway.api.dependencies import Admin, Observer, ServicesDep
from gateway.api.requests import KeyBody, ProjectBody
from gateway.api.responses import Deleted, KeyObject, ListObject, NewKey, ProjectObject
from gateway.errors import Forbidden, NotFound
from gateway.services import Services
from rollout.ledger.records import Key, Project

router = APIRouter(prefix="/v1", tags=["administration"])


@router.post("/keys", status_code=201)
async def create_key(body: KeyBody, services: ServicesDep, caller: Admin) -> NewKey:
    """Make a key for the caller's project; the root key may name any."""
    project = await _chosen_project(body.project, services, caller) or caller.project
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
    services: ServicesDep, caller: Observer, project: str | None = None
) -> ListObject[KeyObject]:
    """List the keys of the caller's project without their secrets, oldest first; for the root key, of all projects."""
    own = None if caller.is_root else caller.project
    chosen = await _chosen_project(project, services, caller) or own
    return ListObject(data=[_key(key) for key in await services.ledger.keys(chosen)])


@router.delete("/keys/{id}")
async def delete_key(
    key_id: Annotated[str, Path(alias="id")], services: ServicesDep, caller: Admin
) -> Deleted:
    """Delete a key; this gateway refuses it at once, others within half a minute."""
    own = None if caller.is_root else caller.project
    if not await services.ledger.delete_key(key_id, project=own):
        raise NotFound(f"no key {key_id[:64]}", code="key_not_found")
    services.authenticator.forget(key_id)
    return Deleted(object="key.deleted", id=key_id)


@router.post("/projects", status_code=201)
async def create_project(body: ProjectBody, services: ServicesDep, caller: Admin) -> ProjectObject:
    """Make a project, or change the settings of one that exists; an admin key changes those of its own."""
    if not caller.is_root and body.name != caller.project:
        raise Forbidden("only the root key creates projects; this key may change those of its own")
    project = await services.ledger.project(body.name)
    if body.history is not None:
        await services.stores.of(project.name).set_history(body.history)
    return await _project(project, services)


@router.get("/projects")
async def list_projects(services: ServicesDep, caller: Observer) -> ListObject[ProjectObject]:
    """List all projects to the root key, and to any other its own."""
    shown = [
        await _project(project, services)
        for project in await services.ledger.projects()
        if caller.is_root or project.name == caller.project
    ]
    return ListObject(data=shown)


async def _chosen_project(name: str | None, services: Services, caller: Caller) -> str | None:
    """The project that a call names, if its caller may."""
    if name is None or name == caller.project:
        return name
    if not caller.is_root or await services.authenticator.episode_secret(name) is None:
        raise no_project(name)
    return name


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
