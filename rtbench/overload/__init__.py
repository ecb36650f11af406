"""A run with a peak of load: its shape, its callers, and the Locust file of `rtbench overload`."""

OVERLOAD = "RTBENCH_OVERLOAD"
"""The name of the variable with the settings of `rtbench overload`, as JSON."""
