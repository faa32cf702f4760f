"""What alembic runs: our caller hands over its connection."""

from alembic import context

from longtake.records.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, version_table="longtake_version")
with context.begin_transaction():
    context.run_migrations()
