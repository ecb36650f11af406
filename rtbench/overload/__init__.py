"""A run with a peak of load: its shape, its callers, and the Locust file of `rtbench overload`."""
