"""Alembic's entry point: runs on the connection that `database.py` passes."""

from alembic import context

from rollout.ledger.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
