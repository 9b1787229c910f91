"""Names shared with Dagster."""

import re
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qanatix_pipelines.naming import partition_key

ID = UUID("12345678-0000-4000-8000-000000000000")


@pytest.mark.parametrize(
    ("expected", "name"),
    [
        ("production-products-12345678", "Production  Products"),
        ("munchen-12345678", "München"),
        ("connector-12345678", "数据库"),
        ("a-b-12345678", "--a...b--"),
    ],
)
def test_a_partition_key_reads_like_the_name(expected: str, name: str) -> None:
    assert partition_key(name, ID) == expected


@given(name=st.text(), connector_id=st.uuids())
def test_every_name_gives_a_key_that_dagster_reserves_nothing_of(name: str, connector_id: UUID) -> None:
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{0,48}", partition_key(name, connector_id))
