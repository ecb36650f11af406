"""Tests of every fault: each fault has one outcome."""
