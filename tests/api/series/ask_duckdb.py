"""Runs queries by DuckDB and the httpfs of the package index; prints each result as a line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import duckdb
import duckdb_extension_httpfs

folder = Path(duckdb_extension_httpfs.__file__).parent / "extensions" / f"v{duckdb.__version__}"
connection = duckdb.connect()
connection.load_extension(str(folder / "httpfs.duckdb_extension"))
for query in json.load(sys.stdin):
    print(json.dumps(connection.sql(query).fetchall(), default=str), flush=True)
