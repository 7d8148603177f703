"""Fetching files of weights: one module for each kind of source, and what they share. `library/pull.py` is the door."""
