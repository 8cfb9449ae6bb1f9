"""Steps by the version they made, the episodes trained into each version, and marks on abandoned policies."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# The policies between a parent and its child: training continued from the parent.
MARK = """
    UPDATE policies SET abandoned = true WHERE EXISTS (
        SELECT 1 FROM policies AS newer
        WHERE newer.project = policies.project
          AND newer.version > policies.version AND newer.parent < policies.version)
"""


# Of several rows with one version the one with the latest step stays.
COPY = """
    INSERT INTO steps_by_version (project, version, step, metrics, created)
    SELECT project, version, step, metrics, created FROM training_steps WHERE NOT EXISTS (
        SELECT 1 FROM training_steps AS later WHERE later.project = training_steps.project
        AND later.version = training_steps.version AND later.step > training_steps.step)
"""
COPY_BACK = """
    INSERT INTO steps_by_step (project, step, version, metrics, created)
    SELECT project, step, version, metrics, created FROM training_steps WHERE NOT EXISTS (
        SELECT 1 FROM training_steps AS later WHERE later.project = training_steps.project
        AND later.step = training_steps.step AND later.version > training_steps.version)
"""


def replace_steps(name: str, key: str, copy: str) -> None:
    """Move the rows into a table with another key."""
    other = "step" if key == "version" else "version"
    op.create_table(
        name,
        sa.Column("project", sa.String(64), sa.ForeignKey("projects.name"), primary_key=True),
        sa.Column(key, sa.Integer, primary_key=True, autoincrement=False),
        sa.Column(other, sa.Integer, nullable=False),
        sa.Column("metrics", sa.JSON, nullable=False),
        sa.Column("created", sa.Integer, nullable=False),
    )
    op.execute(copy)
    op.drop_table("training_steps")
    op.rename_table(name, "training_steps")


def upgrade() -> None:
    op.add_column(
        "policies", sa.Column("abandoned", sa.Boolean, nullable=False, server_default=sa.false())
    )
    op.execute(MARK)
    replace_steps("steps_by_version", "version", COPY)
    op.create_table(
        "trained_episodes",
        sa.Column("project", sa.String(64), sa.ForeignKey("projects.name"), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("episode_id", sa.String(200), primary_key=True),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO trained_episodes (project, version, episode_id, created_ms) "
        "SELECT project, policy_version, id, created_ms FROM episodes "
        "WHERE disposition = 'trained' AND policy_version IS NOT NULL"
    )


def downgrade() -> None:
    op.drop_table("trained_episodes")
    replace_steps("steps_by_step", "step", COPY_BACK)
    op.drop_column("policies", "abandoned")
