"""How fast files of each kind are read, in how much memory, and how well pictures are."""
