"""Many clips in, rows out: read lazily, kept as they are done, gone on with after any end."""
