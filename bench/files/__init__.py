"""Input from others: files, services, proxies, users, and run folders that were copied from elsewhere.

`safe_io` reads JSON and files within limits, and writes each file completely or not at all. `values` reads the values
that a service sends, and limits their length. `sanitize` makes texts safe to print. `yaml_file` reads YAML with the
position of each value, and `validation` checks these values.
"""
