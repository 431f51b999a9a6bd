"""HTTP itself: the server, listening sockets, CORS, compression. Knows no figure."""
