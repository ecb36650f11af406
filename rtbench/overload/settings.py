"""The name of the variable with the settings of `rtbench overload`, as JSON."""

OVERLOAD = "RTBENCH_OVERLOAD"
