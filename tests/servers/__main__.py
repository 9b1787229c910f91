"""Fetch the servers' programs that the system has no package of, where they are missing: no test then waits for it."""

import os

from tests.servers import ServerMissing
from tests.sources.mongodb import server as mongodb
from tests.sources.mysql import server as mysql
from tests.sources.neo4j import server as neo4j

for variable, fetched in (
    (mongodb.VARIABLE, mongodb.fetched),
    (mysql.VARIABLE_97, mysql.fetched97),
    (neo4j.VARIABLE, neo4j.fetched),
):
    if not os.environ.get(variable):
        try:
            fetched()
        except ServerMissing as reason:
            print(reason)  # the tests that want it will say so again
