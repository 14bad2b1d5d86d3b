"""Alembic runs this: the migrations go through the connection that the store holds, in its transaction."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
