"""Opens engines by URL; the scheme names the kind of server.

http://host:30000, sglang+http://host:30000   SGLang
other+http://host:8000, other://anything      the kind that ENGINE_KINDS, or the caller's own mapping, calls `other`
"""

from collections.abc import Callable, Mapping
from typing import Self

from rollout.engine.engine import Engine, EngineOptions
from rollout.engine.sglang.engine import SglangEngine
from rollout.settings import SettingsError, SharedSettings

OpenEngine = Callable[[str, EngineOptions], Engine]

ENGINE_KINDS: Mapping[str, OpenEngine] = {"sglang": SglangEngine}
DEFAULT_KIND = "sglang"


class EngineFactory:
    """Opens the engines of one deployment."""

    def __init__(
        self,
        options: EngineOptions | None = None,
        *,
        kinds: Mapping[str, OpenEngine] = ENGINE_KINDS,
    ) -> None:
        self.options = options or EngineOptions()
        self._kinds = kinds

    @classmethod
    def for_settings(
        cls,
        settings: SharedSettings,
        *,
        vocab_size: int | None = None,
        stream_window_seconds: float = 0.0,
        kinds: Mapping[str, OpenEngine] = ENGINE_KINDS,
    ) -> Self:
        key = settings.engine_admin_key
        options = EngineOptions(
            project=settings.project,
            admin_key=None if key is None else key.get_secret_value(),
            vocab_size=vocab_size,
            stream_window_seconds=stream_window_seconds,
        )
        return cls(options, kinds=kinds)

    def open(self, url: str) -> Engine:
        """Raises SettingsError for what is no URL, or one of no known kind."""
        kind, address = _parsed(url)
        if kind not in self._kinds:
            raise SettingsError(
                f"TURNGATE_ENGINES: {url}: {kind} is no known kind of engine; write http://host:port "
                f"for {DEFAULT_KIND}, or kind+http://host:port with one of: {', '.join(self._kinds)}"
            )
        try:
            return self._kinds[kind](address, self.options)
        except ValueError as error:
            raise SettingsError(f"TURNGATE_ENGINES: {error}") from error


def _parsed(url: str) -> tuple[str, str]:
    """The kind and the server's own address."""
    scheme, _, rest = url.partition("://")
    kind, plus, transport = scheme.partition("+")
    if kind in ("http", "https"):
        return DEFAULT_KIND, url
    return kind, f"{transport}://{rest}" if plus else url
