"""Engines as child processes: each is run by its own module and told what to do through its standard input."""
