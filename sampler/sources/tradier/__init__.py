"""Tradier: real-time chains for people with an account there, delayed ones in its sandbox."""
