"""HTTP: the server, listening sockets, CORS, compression and JSON. Nothing here knows a figure."""
