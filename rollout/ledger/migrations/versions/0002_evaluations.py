"""The number of an episode's rewards: a held-out episode with reward 0 differs from one without a reward."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "episodes", sa.Column("num_rewards", sa.Integer, nullable=False, server_default="0")
    )
    op.create_index("ix_episodes_evaluated", "episodes", ["project", "kind", "min_version"])


def downgrade() -> None:
    op.drop_index("ix_episodes_evaluated", "episodes")
    op.drop_column("episodes", "num_rewards")
