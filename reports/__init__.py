"""The analysis of a run from the files in its folder. It needs no network and no event loop.

Users import from `rtbench`.
"""
