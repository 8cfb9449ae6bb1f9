"""The stock SDKs, pointed at an episode. They are imported when they are asked for, and need not be installed.

An SDK's client costs tens of milliseconds to make; its copies for the episodes share the connections and cost almost nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from turngate.errors import PackageMissing

if TYPE_CHECKING:
    from anthropic import Anthropic, AsyncAnthropic
    from openai import AsyncOpenAI, OpenAI


class BlockingSdks:
    def __init__(self, root: str, api_key: str) -> None:
        self._root = root
        self._api_key = api_key

    @cached_property
    def openai(self) -> "OpenAI":
        with needed("openai", "episode.openai()"):
            from openai import OpenAI  # noqa: PLC0415
        return OpenAI(base_url=f"{self._root}/v1", api_key=self._api_key)

    @cached_property
    def anthropic(self) -> "Anthropic":
        with needed("anthropic", "episode.anthropic()"):
            from anthropic import Anthropic  # noqa: PLC0415
        return Anthropic(base_url=self._root, api_key=self._api_key)

    def close(self) -> None:
        for made in ("openai", "anthropic"):
            if made in self.__dict__:
                self.__dict__[made].close()


class AwaitingSdks:
    def __init__(self, root: str, api_key: str) -> None:
        self._root = root
        self._api_key = api_key

    @cached_property
    def openai(self) -> "AsyncOpenAI":
        with needed("openai", "episode.openai()"):
            from openai import AsyncOpenAI  # noqa: PLC0415
        return AsyncOpenAI(base_url=f"{self._root}/v1", api_key=self._api_key)

    @cached_property
    def anthropic(self) -> "AsyncAnthropic":
        with needed("anthropic", "episode.anthropic()"):
            from anthropic import AsyncAnthropic  # noqa: PLC0415
        return AsyncAnthropic(base_url=self._root, api_key=self._api_key)

    async def close(self) -> None:
        for made in ("openai", "anthropic"):
            if made in self.__dict__:
                await self.__dict__[made].close()


@contextmanager
def needed(extra: str, purpose: str) -> Iterator[None]:
    """Around the import of an optional package: without it, the error names the command that installs it."""
    try:
        yield
    except ImportError as error:
        raise PackageMissing(error.name or extra, extra, purpose=purpose) from error
