"""Window to series, over HTTP. Computes no greek: serves what was measured and stored."""
