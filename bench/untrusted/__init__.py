"""Input from others: services, proxies, users, and run folders that were copied from elsewhere.

`safe_io` reads JSON and files within limits, and writes files completely. `values` reads the values that a service
sends with a limited length. `sanitize` makes texts safe to print.
"""
