"""Run by alembic: the changes happen on the connection that the server hands over, in its transaction."""

from alembic import context

from bottega.server.store.tables import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
context.run_migrations()
