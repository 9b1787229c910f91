"""Pulls rows out of databases and ingests them as entities; its `defs` are what Dagster sees."""
