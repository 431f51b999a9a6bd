"""Databento's files of OPRA quotes, trades, definitions and statistics: past sessions, exactly."""
