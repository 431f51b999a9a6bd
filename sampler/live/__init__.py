"""Sampling while the market is open: the grid, each tick, and what a failing part costs."""
