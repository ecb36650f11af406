"""Add the columns that this version has added to the files of the stored run, with nulls.

    python -m tests.reports.extend_stored

Run it after a column is added to `bench.catalogue.columns`. It changes nothing if no column is missing.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bench.record.folder import SCHEMAS, STORED

FOLDER = Path(__file__).parent / "stored"


def main() -> None:
    for table, files in STORED.items():
        for name, schema in files.items():
            path = FOLDER / f"{name}.parquet"
            stored = pq.read_table(path)
            missing = [field for field in schema if field.name not in stored.column_names]
            if missing:
                for field in missing:
                    stored = stored.append_column(field, pa.nulls(len(stored), field.type))
                ordered = stored.select([field.name for field in SCHEMAS[table] if field.name in stored.column_names])
                pq.write_table(ordered.replace_schema_metadata(stored.schema.metadata), path, compression="zstd")


if __name__ == "__main__":
    main()
