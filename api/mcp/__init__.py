"""The Model Context Protocol: the API's answers as tools that an assistant can call."""
