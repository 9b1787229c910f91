"""Names that our Dagster code and the API both use, and must spell alike."""

import re
import unicodedata
from uuid import UUID

from qanatix_pipelines.tenants import DEFAULT, Tenant

# The first part of the asset keys of connectors: `connectors/postgresql`. An entity set's is `manufacturing/product`.
CONNECTORS_KEY_PREFIX = "connectors"

# The code location's name, unless QANATIX_CODE_LOCATION gives another.
CODE_LOCATION = "qanatix"
REPOSITORY = "__repository__"

# Run tags. A tag may hold only identifiers, because Dagster stores and shows tags in clear. Dagster's UI hides tags
# that begin with a dot.
PARTITION_TAG = "dagster/partition"
PULL_TAG = ".dagster/qanatix_pull_id"
TRIGGER_TAG = "qanatix/trigger"
# A run that looks at a connector, and ingests nothing: which draft it answers, and what kind of look it is.
DRAFT_TAG = "qanatix/draft"
KIND_TAG = "qanatix/kind"
# Triggers, which tell who asked for a pull: the REST API, or a run that was started in Dagster.
API, DAGSTER, RE_EXECUTION = "api", "dagster", "re-execution"
TENANT_TAG = "qanatix/tenant"
HOST_TAG = "qanatix/host"
# Dagster's queue limits runs by these: the connector's partition key, and a digest that all connectors to one database
# and user share.
CONNECTOR_TAG = "qanatix/connector"
SOURCE_TAG = "qanatix/source"
# When the schedule asks for the next pull.
NEXT_DUE_TAG = "qanatix/next_due_at"
# A run that has this tag with the value "true" reads everything again.
FULL_REFRESH_TAG = "qanatix/full_refresh"
# A run that has these reads from here, up to here, and at most so many rows.
SINCE_TAG = "qanatix/since"
UNTIL_TAG = "qanatix/until"
LIMIT_TAG = "qanatix/limit"
PART_TAGS = frozenset({SINCE_TAG, UNTIL_TAG, LIMIT_TAG})


# The job of all looks.
LOOK_JOB = "test_connector"


def partitions_name(connector_type: str) -> str:
    return f"connectors_{connector_type}"


def job_name(connector_type: str) -> str:
    return f"pull_{connector_type}"


def entity_set_key(tenant: Tenant, vertical: str, entity_type: str, prefix: str | None = None) -> list[str]:
    """An entity set's asset key: `prefix`, the tenant unless it is `default`, and the set's two names.

    No two sets share a key.
    """
    within = [vertical, entity_type] if tenant == DEFAULT else [tenant, vertical, entity_type]
    return within if prefix is None else [prefix, *within]


def partition_key(name: str, connector_id: UUID) -> str:
    """A key that people can read in Dagster's grid: a slug of the name, and 8 hex digits of the id.

    It is made once, at registration. It matches `[a-z0-9][a-z0-9-]{0,48}`: Dagster reserves none of these characters.
    """
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_name)[:40].strip("-")
    return f"{slug or 'connector'}-{connector_id.hex[:8]}"
