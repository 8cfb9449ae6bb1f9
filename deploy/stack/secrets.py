"""Keys and passwords of this machine's stack, generated at the first start; there are no default values."""

import os
import secrets
from dataclasses import asdict, dataclass, replace

from deploy.data_directory import DataDirectory, read_json, write_json

ADMIN_KEY = "TURNGATE_GATEWAY_ADMIN_KEY"


@dataclass(frozen=True, slots=True)
class Secrets:
    admin_key: str
    engine_admin_key: str
    redis_password: str
    project_key: str | None = None  # the gateway makes it, once it runs

    @classmethod
    def load(cls, directory: DataDirectory) -> "Secrets":
        """Read them, or generate them the first time; an admin key in the environment takes precedence."""
        if stored := read_json(directory.secrets):
            known = cls(**stored)
        else:
            known = cls.generate()
            known.save(directory)
        return replace(known, admin_key=os.environ.get(ADMIN_KEY, known.admin_key))

    @classmethod
    def generate(cls) -> "Secrets":
        return cls(
            admin_key=f"tg-admin-{secrets.token_urlsafe(32)}",
            engine_admin_key=secrets.token_urlsafe(32),
            redis_password=secrets.token_urlsafe(32),
        )

    def save(self, directory: DataDirectory) -> None:
        write_json(directory.secrets, asdict(self))

    def with_project_key(self, key: str) -> "Secrets":
        return replace(self, project_key=key)
