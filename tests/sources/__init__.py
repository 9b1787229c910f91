"""The databases that connectors are tested against: a package for each, and what serves several beside them."""
