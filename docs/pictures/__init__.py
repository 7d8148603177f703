"""The console's pictures in the docs, and what tells whether the console still looks like them."""
