"""Charles Schwab's option chains, for people with an account there."""
