"""The reports of connectors' tests, made without Dagster."""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from qanatix_pipelines.connector_tests import run_test
from qanatix_pipelines.connectors import NewConnector
from qanatix_pipelines.egress import DEVELOPMENT, Egress
from qanatix_pipelines.reports import Check, CheckStatus, ConnectorTest
from qanatix_pipelines.sources import open_source
from tests.sources.harness import Harness

# How a sentence tells its reader what to do next.
ASKS = re.compile(
    r"(?:^|[.:;,] |\b(?:or|and|but) )(?:add|ask|cast|change|check|choose|compare|correct|demand|give|grant|leave|make"
    r"|name|open|put|raise|read|register|return|run|see|set|start|use|write)\b|\bmust (?:be|begin|end|have|only|not)\b"
    r"|\bthe operator (?:opens|allows)\b",
    re.IGNORECASE,
)
PASSED, FAILED, WARNED, SKIPPED = CheckStatus.PASSED, CheckStatus.FAILED, CheckStatus.WARNED, CheckStatus.SKIPPED


def report_of(
    harness: Harness,
    query: str,
    config: Mapping[str, Any] | None = None,
    *,
    egress: Egress = DEVELOPMENT,
    rows: int = 10,
    seconds: float = 30,
    **fields: Any,
) -> ConnectorTest:
    config = dict(harness.config if config is None else config)
    connector = NewConnector.model_validate(
        {
            "name": "Items",
            "connector_type": harness.connector_type,
            "vertical": "testing",
            "entity_type": "item",
            "connection_config": config,
            "query": query,
        }
        | fields
    )
    opened = partial(open_source, harness.connector_type, **harness.allowed)
    return run_test(connector, config, opened, egress, rows=rows, seconds=seconds)


def check(report: ConnectorTest, name: str) -> Check:
    (found,) = [one for one in report.checks if one.name == name]
    return found


def statuses(report: ConnectorTest) -> dict[str, str]:
    return {one.name.value: one.status.value for one in report.checks}


def tls_status(connector_type: str, config: Mapping[str, Any], query: str) -> CheckStatus:
    """How the check `tls` went."""
    connector = NewConnector(
        name="Items",
        connector_type=connector_type,
        vertical="testing",
        entity_type="item",
        connection_config=dict(config),
        query=query,
    )
    report = run_test(connector, config, partial(open_source, connector_type), DEVELOPMENT)
    return check(report, "tls").status
