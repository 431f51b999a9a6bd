"""Past sessions: backfill, recompute, explain and calibrate."""
