"""Everything that talks to Redis or Valkey; the client library is imported only here."""
