"""Where facts come from beside the cards: lists that others keep, the hubs, and a dated snapshot. They bring observations."""
