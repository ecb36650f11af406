"""Programs that measure the numbers in README.md, docs and docstrings; no tests. `make benchmark` runs them."""
