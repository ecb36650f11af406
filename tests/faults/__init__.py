"""Tests of every fault at every place. Each fault has one outcome at each place."""
