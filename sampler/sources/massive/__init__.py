"""Massive (Polygon.io): a snapshot of the whole chain, in pages, for people with a plan there."""
