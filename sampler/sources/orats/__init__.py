"""ORATS: chains of one minute, live and past."""
