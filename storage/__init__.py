"""Rows in, windows out: the ground floor. Knows no greek and no HTTP."""
