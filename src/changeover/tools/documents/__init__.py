"""Reading files that nobody trusts: in a process of its own, within bounds of memory and time."""
