"""Protocols of calls without sockets, clocks or random numbers: each folder is an engine that takes
received bytes with their instants, and returns what to send and when to ask again.

`transport` has the sockets. The simulator is the other peer, with the same engines.
"""
