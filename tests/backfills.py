"""Backfills of PostgreSQL connectors, launched and followed over Dagster's GraphQL API."""

from typing import Any

from tests.system import System

LAUNCH = """
mutation Backfill($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) { __typename ... on LaunchBackfillSuccess { backfillId } }
}
"""
BACKFILL = """
query Backfill($id: String!) {
  partitionBackfillOrError(backfillId: $id) {
    ... on PartitionBackfill { status error { message } runs { id status tags { key value } } }
  }
}
"""


def launch(stack: System, partitions: list[str], **tags: str) -> str:
    """With tags of ours, which all its runs get."""
    params = {
        "assetSelection": [{"path": ["connectors", "postgresql"]}],
        "partitionNames": partitions,
        "tags": [{"key": f"qanatix/{name}", "value": value} for name, value in tags.items()],
    }
    launched: str = stack.ask_dagster(LAUNCH, params=params)["launchPartitionBackfill"]["backfillId"]
    return launched


def told(stack: System, backfill: str) -> dict[str, Any]:
    answer: dict[str, Any] = stack.ask_dagster(BACKFILL, id=backfill)["partitionBackfillOrError"]
    assert answer["error"] is None, answer["error"]
    return answer
