"""Where the gateway is and with which key, from arguments or the environment."""

import os
from dataclasses import dataclass, field

from turngate.errors import SettingMissing

DEFAULT_BASE_URL = "http://127.0.0.1:8000"  # where `turngate up` listens by default


@dataclass(frozen=True, slots=True)
class Connection:
    """`root` is the gateway's address without `/v1`."""

    root: str
    api_key: str = field(repr=False)
    timeout: float
    max_retries: int
    patience: float

    @classmethod
    def of(
        cls,
        base_url: str | None,
        api_key: str | None,
        *,
        timeout: float,
        max_retries: int,
        patience: float,
    ) -> "Connection":
        """Arguments first, then TURNGATE_BASE_URL and TURNGATE_API_KEY."""
        root = base_url or os.environ.get("TURNGATE_BASE_URL") or DEFAULT_BASE_URL
        key = api_key or os.environ.get("TURNGATE_API_KEY")
        if not key:
            raise SettingMissing(
                "no API key: set TURNGATE_API_KEY, or pass api_key=…; "
                "`turngate up` prints one, `turngate keys create` makes one"
            )
        return cls(
            root.rstrip("/").removesuffix("/v1").rstrip("/"), key, timeout, max_retries, patience
        )

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.api_key}", "user-agent": "turngate-client"}
