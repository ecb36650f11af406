"""Calls through a TURN server (RFC 8656), for peers and callers behind a NAT or a firewall.

The order: `servers` reads which servers there are, `allocation` asks for an address and keeps it,
with permissions and channels of each peer, and `framing` cuts a stream of TCP or TLS into messages.
"""
