"""Judges: scorers that ask a task of the project, and what is known of how well it judges."""
