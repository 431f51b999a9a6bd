"""Stored rows to answers, one document a module. Pure, and without a greek.

What is served here was measured by the sampler and stored; this counts, divides and finds words.
"""
