"""A gateway that starts before what it needs."""

import asyncio
import tempfile
from pathlib import Path

import httpx

from tests.gateways import ADMIN_KEY, StartGateway
from tests.redis_server import spawn


async def test_a_gateway_waits_for_a_redis_that_starts_later(start_gateway: StartGateway) -> None:
    """It does not exit: after a crash of Redis both may be starting."""
    with tempfile.TemporaryDirectory(prefix="tg-redis-") as name:
        directory = Path(name)
        starting = start_gateway(
            "http://127.0.0.1:9", redis_url=f"unix://{directory / 'redis.sock'}"
        )
        opening = asyncio.create_task(starting.__aenter__())
        done, _ = await asyncio.wait([opening], timeout=1.0)
        server = spawn(directory)
        try:
            gateway = await opening
            headers = {"authorization": f"Bearer {ADMIN_KEY}"}
            async with httpx.AsyncClient(trust_env=False, headers=headers) as client:
                opened = await client.post(f"{gateway.url}/v1/episodes", json={})
            await starting.__aexit__(None, None, None)
        finally:
            server.terminate()
            server.wait(timeout=20)

    assert not done
    assert opened.status_code == 201
