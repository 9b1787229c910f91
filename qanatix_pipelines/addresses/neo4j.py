"""Neo4j URIs, read by us: the driver is told one server, which it talks to by Bolt."""

import re

from qanatix_pipelines.addresses.parts import MAX_PORT

_URI = re.compile(r"[a-zA-Z0-9+]+://(?P<host>[a-zA-Z0-9._-]+|\[[0-9a-fA-F:.]+\])(?::(?P<port>[0-9]{1,5}))?")


def bolt_uri(text: str) -> str:
    """The URI to connect to, `bolt` for `neo4j`: a routing table would name further hosts, which nobody registered."""
    scheme = text.partition("://")[0].lower()
    if scheme not in ("bolt", "bolt+s", "neo4j", "neo4j+s"):
        raise ValueError("must begin with bolt+s://, neo4j+s://, bolt:// or neo4j://")
    if "@" in text:
        raise ValueError("must not hold a user or a password: they are options of their own")
    parts = _URI.fullmatch(text)
    if parts is None:
        raise ValueError("must be a scheme, one host and perhaps a port, and nothing more: bolt+s://db.internal:7687")
    port = int(parts["port"] or 7687)
    if not 0 < port <= MAX_PORT:
        raise ValueError(f"must have a port between 1 and {MAX_PORT}")
    return f"{scheme.replace('neo4j', 'bolt')}://{parts['host']}:{port}"
