"""What the machinery of an evaluation costs, beside other tools on the same work."""
