"""Takeovers under load: what callers see of a switch, and how soon a bad candidate is taken out again."""
