"""dxLink, the stream of tastytrade: quotes, volumes and each trade with its side."""
