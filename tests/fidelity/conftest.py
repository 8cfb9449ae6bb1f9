"""A gateway in front of the real SGLang, and between the two a recorder that knows what was sampled."""

from collections.abc import AsyncIterator

import pytest

from tests.fidelity.recorder import Recorder, recording
from tests.gateways import Gateway, StartGateway


@pytest.fixture
async def recorder(engine: str) -> AsyncIterator[Recorder]:
    async with recording(engine) as recorder:
        yield recorder


@pytest.fixture
async def served(start_gateway: StartGateway, recorder: Recorder) -> AsyncIterator[Gateway]:
    async with start_gateway(recorder) as running:
        yield running
