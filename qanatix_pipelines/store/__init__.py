"""What is kept: connectors, receipts of pulls, entities and API keys, in SQLite or PostgreSQL."""
