"""The record of one slot: its fields, how they are packed, and how they travel."""
