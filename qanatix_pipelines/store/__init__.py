"""The store: connectors, receipts of pulls, entities and API keys, in SQLite or PostgreSQL."""
