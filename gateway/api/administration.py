"""Keys and projects. A key's secret is shown once, when the key is made.

An admin key sees and changes the keys of its own project. Only the root key creates projects and lists all of them. A repeat
of a call with the same `Idempotency-Key` header and body gets the same answer, the key's secret included.
"""

import time
from hashlib import sha256
from typing import Annotated

from fastapi import APIRouter, Path

from gateway.access.api_keys import new_project_key, repeatable_project_key
from gateway.access.authentication import no_project
from gateway.access.caller import Caller
from gateway.api.admin_responses import KeyObject, NewKey, ProjectObject
from gateway.api.dependencies import Admin, Observer, RetryKey, ServicesDep
from gateway.api.documented_errors import IN_CONFLICT, NOT_FOUND, OF_CALLS_WITH_A_KEY
from gateway.api.requests import Body, KeyBody, ProjectBody
from gateway.api.responses import Deleted, ListObject
from gateway.errors import Forbidden, NotFound
from gateway.services import Services
from rollout.ledger.records import Key, Project

router = APIRouter(prefix="/v1", tags=["administration"], responses=OF_CALLS_WITH_A_KEY)


@router.post("/keys", status_code=201, responses=NOT_FOUND | IN_CONFLICT)
async def create_key(
    body: KeyBody, services: ServicesDep, caller: Admin, retry_key: RetryKey = None
) -> NewKey:
    """Make a key for the caller's project; the root key may name any. It lives no longer than the key that makes it."""
    project = await _chosen_project(body.project, services, caller) or caller.project
    secret = new_project_key()
    if retry_key:
        digest = await _remember(services, caller, retry_key, path="/v1/keys", body=body)
        own = await services.authenticator.project(caller.project)
        assert own is not None, "the project of an authenticated caller exists"
        secret = repeatable_project_key(
            own.episode_secret, opener_id=caller.key_id, call=f"{retry_key}\0{digest}"
        )
    key = await services.ledger.create_key(
        secret,
        project=project,
        scopes=body.scopes,
        name=body.name,
        limits=body.limits,
        expires=_expiry(body.expires_in_seconds, caller),
    )
    return NewKey(key=secret, **_key(key).model_dump())


@router.get("/keys", responses=NOT_FOUND)
async def list_keys(
    services: ServicesDep, caller: Observer, project: str | None = None
) -> ListObject[KeyObject]:
    """List the keys of the caller's project without their secrets, oldest first; for the root key, of all projects."""
    own = None if caller.is_root else caller.project
    chosen = await _chosen_project(project, services, caller) or own
    return ListObject(data=[_key(key) for key in await services.ledger.keys(chosen)])


@router.delete("/keys/{id}", responses=NOT_FOUND)
async def delete_key(
    key_id: Annotated[str, Path(alias="id")], services: ServicesDep, caller: Admin
) -> Deleted:
    """Delete a key; within a second every gateway refuses it, and the keys of the episodes that it opened."""
    own = None if caller.is_root else caller.project
    if not await services.ledger.delete_key(key_id, project=own):
        raise NotFound(f"no key {key_id[:64]}", code="key_not_found")
    await services.key_changes.announce()
    return Deleted(object="key.deleted", id=key_id)


@router.post("/projects", status_code=201, responses=IN_CONFLICT)
async def create_project(
    body: ProjectBody, services: ServicesDep, caller: Admin, retry_key: RetryKey = None
) -> ProjectObject:
    """Make a project, or change the settings of one that exists; an admin key changes those of its own."""
    if not caller.is_root and body.name != caller.project:
        raise Forbidden("only the root key creates projects; this key may change those of its own")
    if retry_key:
        await _remember(services, caller, retry_key, path="/v1/projects", body=body)
    project = await services.ledger.configure_project(body.name, body.settings)
    if body.settings:
        await services.key_changes.announce()
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
    if not caller.is_root or await services.authenticator.project(name) is None:
        raise no_project(name)
    return name


async def _remember(
    services: Services, caller: Caller, retry_key: str, *, path: str, body: Body
) -> str:
    """The digest of the body. Raises RetryMismatch if the caller used the key before with another one."""
    digest = sha256(body.model_dump_json().encode()).hexdigest()
    call = f"{caller.key_id}\0{caller.project}\0{path}\0{retry_key}"
    await services.ledger.remember_call(
        sha256(call.encode()).hexdigest(),
        body_digest=digest,
        retry_key=retry_key,
    )
    return digest


def _expiry(seconds: int | None, caller: Caller) -> int | None:
    ends = [] if caller.expires is None else [caller.expires]
    if seconds is not None:
        ends.append(int(time.time()) + seconds)
    return min(ends, default=None)


def _key(key: Key) -> KeyObject:
    return KeyObject(
        id=key.id,
        project=key.project,
        name=key.name,
        hint=key.hint,
        scopes=sorted(key.scopes),
        created=key.created,
        expires=key.expires,
        **key.limits,
    )


async def _project(project: Project, services: Services) -> ProjectObject:
    history = await services.stores.of(project.name).history()
    return ProjectObject(
        id=project.name,
        name=project.name,
        created=project.created,
        history=history,
        train=project.trains,
        private_prefix_cache=project.private_prefix_cache,
    )
