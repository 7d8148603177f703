"""The evidence: datasets, scorers, sequential tests, and the sandbox for model-written code."""
