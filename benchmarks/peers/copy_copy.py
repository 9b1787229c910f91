"""COPY TO | COPY FROM: one store's entities into another, empty one, with the same table and indexes.

Arguments: source, its table, target. Nothing is typed, hashed or compared.
"""

import sys

import psycopg

source, table, target = sys.argv[1:]
with (
    psycopg.connect(source) as reading,
    psycopg.connect(target) as writing,
    reading.cursor().copy(f"COPY {table} TO STDOUT") as rows,
    writing.cursor().copy("COPY qanatix.entity_1 FROM STDIN") as into,
):
    for part in rows:
        into.write(part)
