"""connectorx: a table into Arrow, and nowhere else. Arguments: source."""

import sys

import connectorx

connectorx.read_sql(sys.argv[1], "SELECT * FROM items", return_type="arrow")
