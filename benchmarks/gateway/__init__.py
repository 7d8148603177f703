"""What a gateway costs: ours with everything on and its peers, on one core with the same bodies, in one run."""
