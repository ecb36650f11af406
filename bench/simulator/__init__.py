"""Stands in for the service, in its own process, with known truth: `rtbench simulate`. README.md shows the rooms.

What it prints says SIMULATED: its delays are assumptions, never measurements of the service.
"""
