"""neo4j: a query's records, each dropped. Arguments: source, query."""

import sys
from collections import deque
from urllib.parse import urlsplit

import neo4j

parts = urlsplit(sys.argv[1])
with (
    neo4j.GraphDatabase.driver(
        f"bolt://{parts.hostname}:{parts.port}", auth=(parts.username, parts.password)
    ) as driver,
    driver.session(database=parts.path.strip("/"), fetch_size=5000) as session,
):
    deque(session.run(sys.argv[2]), maxlen=0)
