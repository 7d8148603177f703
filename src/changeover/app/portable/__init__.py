"""Leaving, and arriving: everything that an installation holds in open formats, and back into an empty one.

`queries` reads and writes whole tables, `files` which declarations belong to a project, `archive` reads and writes a
directory or a ZIP file, `leave` exports, `arrive` imports.
"""
