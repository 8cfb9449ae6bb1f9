"""No word of a password in what an error or a settings object shows."""

import traceback
from pathlib import Path

import pytest

from rollout.errors import LedgerUnavailable, StoreUnavailable
from rollout.ledger.database import Database
from rollout.settings import SettingsError, SharedSettings
from rollout.store.connection import connect

PASSWORD = "swordfish"


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{PASSWORD}/x@host:6379/0",
        f"redis://:{PASSWORD}#x@host:6379/0",
        f"redis://:{PASSWORD}[x@host:6379/0",
        f"redis://:{PASSWORD}@host:port/0",
        f"http://:{PASSWORD}@host",
    ],
)
def test_a_wrong_redis_url_is_not_repeated(url: str) -> None:
    """The library's own message has what it takes for the port."""
    with pytest.raises(StoreUnavailable, match="TURNGATE_REDIS_URL") as raised:
        connect(url)

    assert PASSWORD not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://turngate:{PASSWORD}@host:port/turngate",
        f"nothing+known://turngate:{PASSWORD}@host/turngate",
        f"{PASSWORD}",
    ],
)
def test_a_wrong_database_url_is_not_repeated(url: str) -> None:
    """The message says which setting to check."""
    with pytest.raises(LedgerUnavailable, match="TURNGATE_DATABASE_URL") as raised:
        Database.connect(url)

    assert PASSWORD not in str(raised.value)


def test_printed_settings_have_no_password() -> None:
    """A settings object may end in a log line or a traceback."""
    settings = SharedSettings(
        redis_url=f"redis://:{PASSWORD}@host/0",
        database_url=f"postgresql://turngate:{PASSWORD}@host/turngate",
        model_dir=Path("model"),
        engine_admin_key=PASSWORD,
    )

    assert PASSWORD not in f"{settings} {settings!r}"
    assert settings.redis_url.count(PASSWORD) == 1


def test_a_wrong_key_of_the_engines_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says which setting has the line break that would end the header."""
    monkeypatch.setenv("TURNGATE_REDIS_URL", "redis://host")
    monkeypatch.setenv("TURNGATE_MODEL_DIR", "model")
    monkeypatch.setenv("TURNGATE_ENGINE_ADMIN_KEY", f"{PASSWORD}\n")

    with pytest.raises(SettingsError, match=r"^TURNGATE_ENGINE_ADMIN_KEY: .*line break") as raised:
        SharedSettings.load()

    assert PASSWORD not in str(raised.value)
