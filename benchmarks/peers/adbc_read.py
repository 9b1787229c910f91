"""ADBC: a table as Arrow batches, each dropped. Arguments: source."""

import sys

import adbc_driver_postgresql.dbapi as adbc

with adbc.connect(sys.argv[1]) as connection, connection.cursor() as cursor:
    cursor.execute("SELECT * FROM items")
    for _batch in cursor.fetch_record_batch():
        pass
