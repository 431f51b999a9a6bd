"""The name under which the server hands a request's connection to its handler."""

#: Key of the connection (an ``asyncio.Transport``) in a GET request's ``scope["extensions"]``. It
#: is missing where the server does not hand out its connections.
TRANSPORT = "flow.transport"
