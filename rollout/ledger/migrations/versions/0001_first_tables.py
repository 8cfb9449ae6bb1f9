"""The first tables: projects, keys, policies, training steps, episodes, swaps."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def project(*, primary_key: bool = False) -> "sa.Column[str]":
    reference = sa.ForeignKey("projects.name")
    return sa.Column("project", sa.String(64), reference, nullable=False, primary_key=primary_key)


def upgrade() -> None:
    op.create_table(
        "projects",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("episode_secret", sa.String(64), nullable=False),
        sa.Column("created", sa.Integer, nullable=False),
    )
    op.create_table(
        "keys",
        sa.Column("id", sa.String(64), primary_key=True),
        project(),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False, unique=True),
        sa.Column("hint", sa.String(16), nullable=False),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("limits", sa.JSON, nullable=False),
        sa.Column("created", sa.Integer, nullable=False),
    )
    op.create_table(
        "policies",
        project(primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("parent", sa.Integer),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("created", sa.Integer, nullable=False),
    )
    op.create_table(
        "training_steps",
        project(primary_key=True),
        sa.Column("step", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("metrics", sa.JSON, nullable=False),
        sa.Column("created", sa.Integer, nullable=False),
    )
    op.create_table(
        "episodes",
        project(primary_key=True),
        sa.Column("id", sa.String(200), primary_key=True),
        sa.Column("group_id", sa.String(200), nullable=False, index=True),
        sa.Column("task_id", sa.String(200), nullable=False, index=True),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("key_id", sa.String(64), nullable=False),
        sa.Column("metadata_json", sa.Text, nullable=False),
        sa.Column("disposition", sa.String(16), nullable=False, index=True),
        sa.Column("policy_version", sa.Integer),
        sa.Column("reward", sa.Float, nullable=False),
        sa.Column("num_turns", sa.Integer, nullable=False),
        sa.Column("num_trainable_tokens", sa.Integer, nullable=False),
        sa.Column("num_output_tokens", sa.Integer, nullable=False),
        sa.Column("min_version", sa.Integer),
        sa.Column("max_version", sa.Integer),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("truncated", sa.Boolean, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("sealed_ms", sa.BigInteger, nullable=False),
        sa.Column("settled_ms", sa.BigInteger, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "swaps",
        sa.Column("id", sa.Integer, primary_key=True),
        project(),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("engine", sa.String(200), nullable=False),
        sa.Column("gap_seconds", sa.Float, nullable=False),
        sa.Column("ok", sa.Boolean, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("created", sa.Integer, nullable=False),
    )


def downgrade() -> None:
    for table in ("swaps", "episodes", "training_steps", "policies", "keys", "projects"):
        op.drop_table(table)
