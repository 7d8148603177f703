"""`changeover demo`: the main job on real models, nothing staged."""

from changeover.cli.demo.command import app

__all__ = ["app"]
