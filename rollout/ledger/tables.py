"""The ledger's tables. A change here needs a migration under `migrations/versions`; a test compares the two."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    false,
    true,
)

metadata = MetaData()


def _project() -> "Column[str]":
    return Column("project", String(64), ForeignKey("projects.name"), nullable=False)


projects = Table(
    "projects",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("episode_secret", String(64), nullable=False),
    Column("created", Integer, nullable=False),
    Column("trains", Boolean, nullable=False, server_default=true()),
    Column("private_prefix_cache", Boolean, nullable=False, server_default=false()),
)

keys = Table(
    "keys",
    metadata,
    Column("id", String(64), primary_key=True),
    _project(),
    Column("name", String(200), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("hint", String(16), nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("limits", JSON, nullable=False),
    Column("created", Integer, nullable=False),
    Column("expires", Integer),
    Column("deleted", Integer),  # the row stays, so that a repeated call cannot make the key again
)

# Calls that may be repeated, by a digest of the caller and the retry key; they are kept for a week.
repeatable_calls = Table(
    "repeatable_calls",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("body_digest", String(64), nullable=False),
    Column("created", Integer, nullable=False, index=True),
)

policies = Table(
    "policies",
    metadata,
    Column("project", String(64), ForeignKey("projects.name"), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("parent", Integer),
    Column("path", Text, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("created", Integer, nullable=False),
    Column("abandoned", Boolean, nullable=False, server_default=false()),
)

training_steps = Table(
    "training_steps",
    metadata,
    Column("project", String(64), ForeignKey("projects.name"), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("step", Integer, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("created", Integer, nullable=False),
)

# One short row per episode and version, about 130 bytes: SQLite keeps it in the key's own tree.
trained_episodes = Table(
    "trained_episodes",
    metadata,
    Column("project", String(64), ForeignKey("projects.name"), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("episode_id", String(200), primary_key=True),
    Column("created_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

episodes = Table(
    "episodes",
    metadata,
    Column("project", String(64), ForeignKey("projects.name"), primary_key=True),
    Column("id", String(200), primary_key=True),
    Column("group_id", String(200), nullable=False, index=True),
    Column("task_id", String(200), nullable=False, index=True),
    Column("kind", String(8), nullable=False),
    Column("key_id", String(64), nullable=False),
    Column("metadata_json", Text, nullable=False),
    Column("disposition", String(16), nullable=False, index=True),
    Column("policy_version", Integer),
    Column("reward", Float, nullable=False),
    Column("num_rewards", Integer, nullable=False, server_default="0"),
    Column("num_turns", Integer, nullable=False),
    Column("num_trainable_tokens", Integer, nullable=False),
    Column("num_output_tokens", Integer, nullable=False),
    Column("min_version", Integer),
    Column("max_version", Integer),
    Column("outcome", String(16), nullable=False),
    Column("truncated", Boolean, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("sealed_ms", BigInteger, nullable=False),
    Column("settled_ms", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Index("ix_episodes_evaluated", "project", "kind", "min_version"),
)

# An id that a client uses again after its data has expired names a new episode, whose row replaces the one before.
earlier_episodes = Table(
    "earlier_episodes",
    metadata,
    Column("project", String(64), ForeignKey("projects.name"), primary_key=True),
    Column("id", String(200), primary_key=True),
    Column("created_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("disposition", String(16), nullable=False),
)

swaps = Table(
    "swaps",
    metadata,
    Column("id", Integer, primary_key=True),
    _project(),
    Column("version", Integer, nullable=False),
    Column("engine", String(200), nullable=False),
    Column("gap_seconds", Float, nullable=False),
    Column("ok", Boolean, nullable=False),
    Column("error", Text, nullable=False),
    Column("created", Integer, nullable=False),
)
