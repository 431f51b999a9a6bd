"""Records that could not be written to the database yet, kept in order on disk."""
