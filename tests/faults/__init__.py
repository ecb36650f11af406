"""Every fault, and its one outcome."""
