"""dlt: a table into PostgreSQL by a merge on its key. Arguments: source, target, folder, backend."""

import sys

import dlt
from dlt.sources.sql_database import sql_table

source, target, folder, backend = sys.argv[1:]
table = sql_table(
    credentials=source, table="items", backend=backend, chunk_size=50_000, reflection_level="full_with_precision"
)
table.apply_hints(primary_key="id", write_disposition={"disposition": "merge", "strategy": "upsert"})
pipeline = dlt.pipeline(
    "bench", pipelines_dir=folder, destination=dlt.destinations.postgres(target), dataset_name="peer"
)
pipeline.run(table)
