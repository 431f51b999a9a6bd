"""Cboe DataShop's files of option quotes by interval: past sessions that one has bought."""
