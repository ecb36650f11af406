"""Input that others wrote: services, proxies, users, and run folders that were copied from elsewhere.

`safe_io` reads JSON and files within limits and writes files whole, `values` reads what a service sends at a bounded
length, and `sanitize` makes texts safe to print.
"""
