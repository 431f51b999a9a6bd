"""Undiscounted Black (1976): price, implied volatility, greeks by strike."""

from sampler.metrics.black_fast import Greeks, greeks, implied_volatility, price, warm

__all__ = ["Greeks", "greeks", "implied_volatility", "price", "warm"]
