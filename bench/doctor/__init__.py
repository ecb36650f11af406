"""Looks for what stands between this machine and a measured turn: each thing in order, each with its remedy."""
