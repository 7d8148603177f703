"""Builds an installation and the running system: the only room that knows every room."""
