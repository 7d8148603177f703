"""How well a search over the library finds what a query is about."""
