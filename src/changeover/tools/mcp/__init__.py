"""Tools for agents: the Model Context Protocol, over the client, so that rights, limits and usage are the caller's."""
