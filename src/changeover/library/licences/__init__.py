"""Licences: their conditions as data, the organisation's policy, and what the one says of the other."""
