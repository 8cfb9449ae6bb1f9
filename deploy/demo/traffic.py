"""The connection pool that all agents share, with counts of requests and failures.

Failures are counted here, below the SDK, so that a failure which the SDK retries is counted too. A 429 with
`retry-after` for opening an episode is back-pressure, not a failure.
"""

from collections import Counter

import httpx2

TIMEOUT_SECONDS = 120.0


class Traffic(httpx2.AsyncBaseTransport):
    def __init__(self, connections: int) -> None:
        limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
        self._transport = httpx2.AsyncHTTPTransport(limits=limits)
        self.requests = 0
        self.failures: Counter[str] = Counter()
        self.served_versions: set[int] = set()
        self.version_of_episode: dict[str, int] = {}

    @property
    def requests_failed(self) -> int:
        return self.failures.total()

    def client(self, root: str, api_key: str) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            transport=self,
            base_url=root,
            headers={"Authorization": f"Bearer {api_key}"},
            timeout=TIMEOUT_SECONDS,
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests += 1
        try:
            response = await self._transport.handle_async_request(request)
        except httpx2.TransportError as error:
            self.failures[f"{request.method} {type(error).__name__}"] += 1
            raise
        if response.status_code >= 400 and not is_back_pressure(request, response):
            self.failures[f"{request.method} {response.status_code}"] += 1
        self._note_version(response)
        return response

    async def aclose(self) -> None:
        await self._transport.aclose()

    def _note_version(self, response: httpx2.Response) -> None:
        version = response.headers.get("x-turngate-policy-version")
        if version is not None:
            self.served_versions.add(int(version))
            self.version_of_episode[response.headers["x-turngate-episode"]] = int(version)


def is_back_pressure(request: httpx2.Request, response: httpx2.Response) -> bool:
    return (
        response.status_code == 429
        and "retry-after" in response.headers
        and request.url.path == "/v1/episodes"
    )
