"""The dispositions of episodes whose id was used again after their data had expired."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "earlier_episodes",
        sa.Column("project", sa.String(64), sa.ForeignKey("projects.name"), primary_key=True),
        sa.Column("id", sa.String(200), primary_key=True),
        sa.Column("created_ms", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("disposition", sa.String(16), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("earlier_episodes")
