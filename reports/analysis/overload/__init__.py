"""A load with a peak: its parts, and what happened to callers before, in, and after the peak."""
