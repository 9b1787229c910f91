"""The names on which Dagster's side and the API must agree."""

import re
import unicodedata
from uuid import UUID

from qanatix_pipelines.tenants import DEFAULT, Tenant

# Asset keys of connectors and of entity sets share one space: `connectors/postgresql` and `manufacturing/product`.
CONNECTORS_KEY_PREFIX = "connectors"

CODE_LOCATION = "qanatix"
REPOSITORY = "__repository__"

# Run tags. Only identifiers may ever be put into a tag: Dagster stores and shows them in clear. Those that begin with
# a dot its pages hide.
PARTITION_TAG = "dagster/partition"
PULL_TAG = ".dagster/qanatix_pull_id"
TRIGGER_TAG = "qanatix/trigger"
# Who asks for a pull: somebody over REST, or by a run begun in Dagster's UI or by what is Dagster's own.
API, DAGSTER = "api", "dagster"
TENANT_TAG = "qanatix/tenant"
HOST_TAG = "qanatix/host"
# What Dagster's queue counts by: the connector's partition key, and a digest that connectors to one database share.
CONNECTOR_TAG = "qanatix/connector"
SOURCE_TAG = "qanatix/source"
# When its schedule asks for the pull after this one.
NEXT_DUE_TAG = "qanatix/next_due_at"
# Set to "true" on a run of one's own, everything is read again.
FULL_REFRESH_TAG = "qanatix/full_refresh"


def partitions_name(connector_type: str) -> str:
    return f"connectors_{connector_type}"


def job_name(connector_type: str) -> str:
    return f"pull_{connector_type}"


def entity_set_key(tenant: Tenant, vertical: str, entity_type: str) -> list[str]:
    """An entity set's asset key: of three parts where it is not the tenant `default`'s, so that none is another's."""
    return [vertical, entity_type] if tenant == DEFAULT else [tenant, vertical, entity_type]


def partition_key(name: str, connector_id: UUID) -> str:
    """A key that a person can read in Dagster's grid: the name's slug and 8 hex digits of the id.

    Made once, at registration. It matches `[a-z0-9][a-z0-9-]{0,48}`, which no part of Dagster reserves.
    """
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_name)[:40].strip("-")
    return f"{slug or 'connector'}-{connector_id.hex[:8]}"
