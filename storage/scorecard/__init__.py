"""The record of forecasts: what rows of set times forecast, and how it came out. Pure."""
