"""Stored sessions as Parquet files: written by export, read by import and ``parquet:``."""
