"""Every door that an id of a caller's own comes in at: what is sent, and how what was accepted is read back."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias
from urllib.parse import quote

import httpx

CHAT: Any = {"model": "policy", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
Door: TypeAlias = Callable[[str], Awaitable[httpx.Response]]
V1 = "/v1/chat/completions"


class Doors:
    """Each door takes an id, asserts what an accepted one must have led to, and returns the answer."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.key_of_episode: dict[str, bytes] = {}

    def all(self) -> tuple[Door, ...]:
        return (
            *(self.in_the_path, self.in_a_header, self.in_the_body),
            *(self.runtimes_session, self.bodys_session, self.shown, self.sealed, self.deleted),
            *(self.rewarded, self.rewarded_in_the_path, self.rewarded_turn, self.completion),
            *(
                self.rewards_key,
                self.group,
                self.groups_header,
                self.groups_path,
                self.groups_query,
            ),
            *(self.task, self.tasks_query, self.after, self.retry_key, self.calls_retry_key),
            *(self.keys_retry_key, self.api_key, self.project, self.projects_header),
            *(self.keys_project, self.policy, self.model),
        )

    async def in_the_path(self, id_: str) -> httpx.Response:
        return await self._chat(id_, path=f"/e/{escaped(id_)}{V1}")

    async def in_a_header(self, id_: str) -> httpx.Response:
        named = header(id_)
        return await self._chat(named.decode(), headers={"x-turngate-episode": named})

    async def in_the_body(self, id_: str) -> httpx.Response:
        return await self._chat(id_, body={"metadata": {"episode_id": id_}})

    async def runtimes_session(self, id_: str) -> httpx.Response:
        return await self.client.post(V1, json=CHAT, headers={"x-session-id": header(id_)})

    async def bodys_session(self, id_: str) -> httpx.Response:
        return await self.client.post(V1, json=CHAT | {"session_id": id_})

    async def _chat(
        self, id_: str, *, path: str = V1, body: Any = None, headers: Any = None
    ) -> httpx.Response:
        answer = await self.client.post(path, json=CHAT | (body or {}), headers=headers)
        if answer.status_code == 200 and id_:
            assert answer.headers["x-turngate-episode"] == id_
            await self._is_shown(id_)
        return answer

    async def _is_shown(self, id_: str) -> None:
        shown = await self.client.get(f"/v1/episodes/{escaped(id_)}")
        assert (shown.status_code, shown.json()["id"]) == (200, id_)

    async def shown(self, id_: str) -> httpx.Response:
        return await self.client.get(f"/v1/episodes/{escaped(id_)}")

    async def sealed(self, id_: str) -> httpx.Response:
        return await self.client.post(f"/v1/episodes/{escaped(id_)}/complete", json={})

    async def deleted(self, id_: str) -> httpx.Response:
        return await self.client.delete(f"/v1/episodes/{escaped(id_)}")

    async def rewarded(self, id_: str) -> httpx.Response:
        return await self.client.post("/v1/rewards", json={"episode_id": id_, "value": 1})

    async def rewarded_in_the_path(self, id_: str) -> httpx.Response:
        return await self.client.post(f"/v1/episodes/{escaped(id_)}/rewards", json={"value": 1})

    async def rewarded_turn(self, id_: str) -> httpx.Response:
        body = {"episode_id": await self._opened({}), "turn_id": id_, "value": 1}
        return await self.client.post("/v1/rewards", json=body)

    async def completion(self, id_: str) -> httpx.Response:
        return await self.client.post("/v1/rewards", json={"completion_id": id_, "value": 1})

    async def rewards_key(self, id_: str) -> httpx.Response:
        body = {"episode_id": await self._opened({}), "value": 1, "idempotency_key": id_}
        first = await self.client.post("/v1/rewards", json=body)
        if first.status_code == 200:
            assert (await self.client.post("/v1/rewards", json=body)).json() == first.json()
            mismatch = await self.client.post("/v1/rewards", json=body | {"value": 2})
            assert mismatch.status_code == 409
        return first

    async def _opened(self, body: Any) -> str:
        answer = await self.client.post("/v1/episodes", json=body)
        return str(answer.json()["id"])

    async def group(self, id_: str) -> httpx.Response:
        answer = await self.client.post("/v1/episodes", json={"group_id": id_, "group_size": 2})
        if answer.status_code == 201:
            await self._has_member(id_, answer.json()["id"])
        return answer

    async def groups_header(self, id_: str) -> httpx.Response:
        named = header(id_)
        answer = await self.client.post(V1, json=CHAT, headers={"x-turngate-group": named})
        if answer.status_code == 200 and named:
            await self._has_member(named.decode(), answer.headers["x-turngate-episode"])
        return answer

    async def _has_member(self, group: str, episode: str) -> None:
        shown = (await self.client.get(f"/v1/groups/{escaped(group)}")).json()
        assert shown["id"] == group
        assert episode in [member["id"] for member in shown["members"]]

    async def groups_path(self, id_: str) -> httpx.Response:
        return await self.client.get(f"/v1/groups/{escaped(id_)}")

    async def groups_query(self, id_: str) -> httpx.Response:
        return await self._listed(group_id=id_)

    async def task(self, id_: str) -> httpx.Response:
        answer = await self.client.post("/v1/episodes", json={"task_id": id_})
        if answer.status_code == 201:
            listed = (await self._listed(task_id=id_)).json()["data"]
            assert answer.json()["id"] in [episode["id"] for episode in listed]
        return answer

    async def tasks_query(self, id_: str) -> httpx.Response:
        return await self._listed(task_id=id_)

    async def after(self, id_: str) -> httpx.Response:
        return await self._listed(after=id_)

    async def _listed(self, **query: str) -> httpx.Response:
        return await self.client.get("/v1/episodes", params=query)

    async def retry_key(self, id_: str) -> httpx.Response:
        """The same key finds the same episode, and two keys never find one."""
        headers = {"idempotency-key": header(id_)}
        answer = await self.client.post("/v1/episodes", json={}, headers=headers)
        if answer.status_code == 201 and header(id_):
            again = await self.client.post("/v1/episodes", json={}, headers=headers)
            assert again.json() == answer.json()
            key = header(id_)
            assert self.key_of_episode.setdefault(answer.json()["id"], key) == key
        return answer

    async def calls_retry_key(self, id_: str) -> httpx.Response:
        headers = {"idempotency-key": header(id_)}
        answer = await self.client.post(V1, json=CHAT, headers=headers)
        if answer.status_code == 200 and header(id_):
            again = await self.client.post(V1, json=CHAT, headers=headers)
            assert again.json() == answer.json()
            episode, key = answer.headers["x-turngate-episode"], header(id_)
            assert self.key_of_episode.setdefault(episode, key) == key
        return answer

    async def keys_retry_key(self, id_: str) -> httpx.Response:
        headers = {"idempotency-key": header(id_)}
        answer = await self.client.post("/v1/keys", json={}, headers=headers)
        if answer.status_code == 201 and header(id_):
            again = await self.client.post("/v1/keys", json={}, headers=headers)
            assert again.json()["id"] == answer.json()["id"]
        return answer

    async def api_key(self, id_: str) -> httpx.Response:
        return await self.client.delete(f"/v1/keys/{escaped(id_)}")

    async def project(self, id_: str) -> httpx.Response:
        answer = await self.client.post("/v1/projects", json={"name": id_})
        if answer.status_code == 201:
            headers = {"x-turngate-project": header(id_)}
            listed = await self.client.get("/v1/episodes", headers=headers)
            assert (listed.status_code, listed.json()["data"]) == (200, [])
        return answer

    async def projects_header(self, id_: str) -> httpx.Response:
        headers = {"x-turngate-project": header(id_)}
        return await self.client.get("/v1/episodes", headers=headers)

    async def keys_project(self, id_: str) -> httpx.Response:
        return await self.client.get("/v1/keys", params={"project": id_})

    async def policy(self, id_: str) -> httpx.Response:
        return await self.client.get(f"/v1/policies/{escaped(id_)}")

    async def model(self, id_: str) -> httpx.Response:
        return await self.client.get(f"/v1/models/{escaped(id_)}")


def escaped(id_: str) -> str:
    """In a path; a client would resolve `.` and `..` before it sends them."""
    return quote(id_, safe="") if id_.strip(".") else id_.replace(".", "%2E")


def header(id_: str) -> bytes:
    """As UTF-8; what no header can hold is left out."""
    return "".join(c if c >= " " and c != "\x7f" else "" for c in id_).strip().encode()
