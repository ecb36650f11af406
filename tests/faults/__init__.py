"""Every fault, and the one outcome that comes of it."""
