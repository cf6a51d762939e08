"""Run by Alembic for each command, on the connection that ``upgrade`` opened."""

from alembic import context

from deployments.jobs.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite alters tables by copying them.
    render_as_batch=True,
    # The caller's transaction holds all of it, on SQLite too.
    transactional_ddl=True,
)
context.run_migrations()
