"""The recording in the README: a switch under load on real small models, as a terminal showed it."""
