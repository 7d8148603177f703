"""How a model runs: plans, bundles, engine processes and their supervisor, and the way to talk to an engine."""
