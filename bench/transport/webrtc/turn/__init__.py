"""Calls through a TURN server (RFC 8656), for peers and callers behind a NAT or a firewall."""
