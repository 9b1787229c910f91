"""COPY TO | COPY FROM: one store's entities into another, which has none, its table the same with its indexes.

Arguments: source, target. Nothing is read off a query, typed, hashed or compared.
"""

import sys

import psycopg

source, target = sys.argv[1:]
with (
    psycopg.connect(source) as reading,
    psycopg.connect(target) as writing,
    reading.cursor().copy("COPY qanatix.entity TO STDOUT") as rows,
    writing.cursor().copy("COPY qanatix.entity FROM STDIN") as into,
):
    for part in rows:
        into.write(part)
