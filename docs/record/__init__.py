"""The recording that the README shows: a switch under load, as a terminal showed it."""
