"""Changeover: applications name a task; the model behind it is switched on evidence."""

__version__ = "0.1.0"
