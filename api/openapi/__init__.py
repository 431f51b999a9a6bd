"""What the API reference says: models, examples and a description of every endpoint."""
