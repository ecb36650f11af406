"""JSON Schemas of what the tool writes: `*.schema.json`, made by `python -m bench.cli.schemas`."""
