"""Telephone calls: the sockets of signalling and audio. The engine is `bench.protocols.sip`."""
