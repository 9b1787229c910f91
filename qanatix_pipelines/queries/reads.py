"""That an SQL query reads, and does no more, as far as its text tells: the server says the rest.

It is no boundary: a read-only transaction is. It tells early, and in words of reading and writing, what a server would
refuse as a feature that it does not support, such as a DELETE within WITH.
"""

from collections.abc import Sequence

from sqlglot.tokenizer_core import Token, TokenType

from qanatix_pipelines.errors import QueryRejected
from qanatix_pipelines.placeholders import word_of
from qanatix_pipelines.places import line_and_column

QUERIES = (TokenType.SELECT, TokenType.WITH, TokenType.VALUES, TokenType.TABLE)
_WRITES = (TokenType.INSERT, TokenType.UPDATE, TokenType.DELETE, TokenType.MERGE)
_OPENS, _CLOSES = (TokenType.L_PAREN, TokenType.R_PAREN)


def check_reads(query: str, tokens: Sequence[Token]) -> None:
    """Raise QueryRejected unless it begins as a query does, and no part of its WITH, nor what follows that, writes."""
    first = next((token for token in tokens if token.token_type is not _OPENS), None)
    if first is None or first.token_type not in QUERIES:
        begins = f", and this one begins with {word_of(query, first).shown}" if first is not None else ""
        raise QueryRejected(f"The query must begin with SELECT, WITH, VALUES or TABLE{begins}: a pull only reads.")
    if first.token_type is not TokenType.WITH:
        return
    opened: list[bool] = []  # for each bracket that is open, whether it is that of a part of WITH
    for before, token, after in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if token.token_type is _OPENS:
            opened.append(before.text.upper() in ("AS", "MATERIALIZED"))
            part = opened[-1]
        elif token.token_type is _CLOSES:
            part = opened.pop() if opened else False
        else:
            part = False
        # An alias, or a function, may be called so.
        if part and after.token_type in _WRITES and not _is_called(tokens, after):
            line, column = line_and_column(query, after.start)
            raise QueryRejected(
                f"The query must only read, and it would write: it has {after.text.upper()} at line {line}, column "
                f"{column}. A pull does not write, also within WITH."
            )


def _is_called(tokens: Sequence[Token], token: Token) -> bool:
    following = next((other for other in tokens if other.start > token.end), None)
    return following is not None and following.token_type in (_OPENS, _CLOSES, TokenType.COMMA)
