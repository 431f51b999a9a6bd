"""The simulated market: a made-up day of trading that every machine computes alike."""
