"""The servers that the tests and the demo start."""

import psycopg
import pytest

from tests.servers import postgresql


@pytest.mark.server
def test_the_postgresql_in_the_wheel_starts_and_stops() -> None:
    server = postgresql.start(wheel_only=True)
    try:
        assert server.version.startswith("18.")
        with psycopg.connect(server.address) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        server.stop()
