"""What models exist: cards with licence, lineage and sources, and their weights, verified."""
