"""Environments of engines: large engines share none with us or with each other."""

from __future__ import annotations

from changeover.serving.environments.declared import Environment, environment, environments, has_nvidia
from changeover.serving.environments.installing import Installing, Say, install, installed, remove, steps

__all__ = [
    "Environment",
    "Installing",
    "Say",
    "environment",
    "environments",
    "has_nvidia",
    "install",
    "installed",
    "remove",
    "steps",
]
