"""Mistakes in a Cypher query: other tools' placeholders, and no RETURN."""

from qanatix_pipelines.errors import QueryRejected
from qanatix_pipelines.sources.neo4j.query import NAMES, tokens
from qanatix_pipelines.sources.slips import AHEAD, BEFORE_VALUES, check_text, refused


def check_cypher(query: str) -> None:
    """As `check_sql`, for Cypher. `parse_cypher` refuses a `$` with a name."""
    significant = [token for token in tokens(query) if token.kind != "space"]
    if not any(token.word == "RETURN" for token in significant):
        raise QueryRejected("The query returns nothing: it must end with RETURN and what is wanted.")
    for before, token in zip([None, *significant], significant, strict=False):
        if token.kind == "string":
            check_text(query, token.start, token.text[1:-1])
        elif before is not None and (before.text in BEFORE_VALUES or before.word in BEFORE_VALUES):
            slip = AHEAD.match(query, token.start)
            # A colon after a parenthesis or a comma begins a label. A brace may begin a map of one name.
            if slip is None or (token.text == ":" and before.text in ("(", ",")):
                continue
            if slip["colon"] not in NAMES and token.text in (":", "%", "?", "{", "$"):
                raise refused(query, token.start, slip[0])
