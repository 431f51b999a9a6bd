"""How the server hands a request's connection to a handler that writes to it directly."""

#: Key of the connection (an ``asyncio.Transport``) in a GET request's ``scope["extensions"]``. It
#: is missing where the server does not let handlers at its connections.
TRANSPORT = "flow.transport"
