"""Rollouts: canary → promote or roll back. Decisions are pure; a thin loop performs them."""
