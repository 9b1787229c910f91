"""Examples of requests that register a connector, one of each type, for the OpenAPI document."""

from typing import Any

EXAMPLES: dict[str, Any] = {
    "postgresql": {
        "summary": "PostgreSQL, incremental",
        "value": {
            "name": "Production products",
            "connector_type": "postgresql",
            "vertical": "manufacturing",
            "entity_type": "product",
            "connection_config": {"dsn": "postgresql://reader:***@db.internal:5432/shop"},
            "query": "SELECT * FROM products WHERE updated_at > :last_pull",
            "name_column": "product_name",
            "batch_size": 5000,
            "schedule": {"cron": "*/15 6-18 * * MON-FRI", "timezone": "Europe/Berlin"},
        },
    },
    "mongodb": {
        "summary": "MongoDB, incremental",
        "value": {
            "name": "Production orders",
            "connector_type": "mongodb",
            "vertical": "manufacturing",
            "entity_type": "order",
            "connection_config": {
                "uri": "mongodb://reader:***@db.internal:27017/?authSource=admin",
                "database": "shop",
                "collection": "orders",
            },
            "query": '{"filter": {"updated_at": {"$gt": ":last_pull"}}, "projection": {"notes": 0}}',
            "name_column": "order_number",
            "batch_size": 5000,
        },
    },
    "neo4j": {
        "summary": "Neo4j, incremental",
        "value": {
            "name": "Production parts",
            "connector_type": "neo4j",
            "vertical": "manufacturing",
            "entity_type": "part",
            "connection_config": {
                "uri": "bolt+s://db.internal:7687",
                "user": "reader",
                "password": "***",
                "database": "neo4j",
            },
            "query": "MATCH (p:Part) WHERE p.updated_at > $last_pull RETURN p.id AS id, p.name AS name",
            "name_column": "name",
            "batch_size": 5000,
        },
    },
    "sqlite": {
        "summary": "A SQLite file, incremental",
        "value": {
            "name": "Measurements",
            "connector_type": "sqlite",
            "vertical": "manufacturing",
            "entity_type": "measurement",
            "connection_config": {"path": "/srv/databases/measurements.db"},
            "query": "SELECT id, sensor, value, taken_at FROM measurements WHERE taken_at > :last_pull",
            "name_column": "sensor",
            "batch_size": 5000,
        },
    },
    "mysql": {
        "summary": "MySQL or MariaDB, incremental",
        "value": {
            "name": "Shop orders",
            "connector_type": "mysql",
            "vertical": "retail",
            "entity_type": "order",
            "connection_config": {
                "host": "db.internal",
                "port": 3306,
                "user": "reader",
                "password": "***",
                "database": "shop",
                "tls": "verify",
            },
            "query": "SELECT id, customer, total, updated_at FROM orders WHERE updated_at > :last_pull",
            "name_column": "customer",
            "watch": {"cursor_column": "updated_at", "every_seconds": 60},
        },
    },
}
