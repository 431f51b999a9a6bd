"""Market facts: sessions, the 30-second grid, New York time, clocks and instruments."""
