"""The pages in a browser: the same functions as the commands, never more."""
