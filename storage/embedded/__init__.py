"""PostgreSQL and Valkey from Python wheels, for a machine that has neither."""
