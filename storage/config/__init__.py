"""What every command shares at its start: settings, plans, log format, and how a command runs."""
