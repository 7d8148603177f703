"""The evidence pack: everything that allowed a switch, as files that anyone can check without this installation.

`collect` reads the rows, `write` makes the files of them and signs, `verify` reads the files and nothing else.
"""
