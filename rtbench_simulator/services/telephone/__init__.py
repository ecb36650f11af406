"""The telephone side of the simulator: calls that are answered, refused and ended as planned. It
is pure.
"""
