"""Telephone calls over SIP. The signalling is pure: it has no socket, no clock and no random
numbers.
"""
