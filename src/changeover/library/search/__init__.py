"""Finding a model by what it is for: filters over the cards' facts, and search by words and by meaning."""
