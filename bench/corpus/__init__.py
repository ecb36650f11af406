"""Labelled recordings: people who speak, with the true pauses and the true end of each turn."""
