"""Keys that expire and stay known when deleted, settings of projects, and calls that may be repeated."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "projects", sa.Column("trains", sa.Boolean, nullable=False, server_default=sa.true())
    )
    op.add_column(
        "projects",
        sa.Column("private_prefix_cache", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    op.add_column("keys", sa.Column("expires", sa.Integer))
    op.add_column("keys", sa.Column("deleted", sa.Integer))
    op.create_table(
        "repeatable_calls",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("body_digest", sa.String(64), nullable=False),
        sa.Column("created", sa.Integer, nullable=False, index=True),
    )


def downgrade() -> None:
    op.drop_table("repeatable_calls")
    op.execute("DELETE FROM keys WHERE deleted IS NOT NULL")
    for name in ("deleted", "expires"):
        op.drop_column("keys", name)
    for name in ("private_prefix_cache", "trains"):
        op.drop_column("projects", name)
