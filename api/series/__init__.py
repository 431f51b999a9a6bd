"""The time series: a session's bars in memory, its windows, output formats and stream."""
