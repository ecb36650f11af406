"""Events of a run: what the user does to the service while callers call, such as a deploy."""
