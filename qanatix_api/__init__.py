"""The QANATIX Connectors API: registers connectors, starts their pulls as Dagster runs, shows the entities."""
