"""What Alembic runs: the migrations, on the connection and in the transaction that `Database.migrate` hands over."""

from __future__ import annotations

from alembic import context

from serve.store.schema import VERSION_TABLE, metadata

connection = context.config.attributes.get("connection")
if connection is None:
    raise SystemExit("migrations run when the store is opened; see serve/store/database.py")
context.configure(connection=connection, target_metadata=metadata, version_table=VERSION_TABLE, render_as_batch=True)
context.run_migrations()
