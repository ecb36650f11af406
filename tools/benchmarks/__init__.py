"""Programs that measure the numbers in README.md, docs and docstrings; not tests. `make
benchmark` runs them.
"""
