"""What is known of the account by which a connector logs in at its source."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sight:
    """Whether the account sees since when transactions of others are open. If not, `remedy` says in a sentence how to
    let it.
    """

    remedy: str | None = None


@dataclass(frozen=True)
class Account:
    """What is known of an account that was judged. Without `rights_told` the server does not say what it may do.

    `sight` is known of a reading that is limited to some rows. It is None if the source has no such transactions, or
    if the query does not need to know of them.
    """

    rights_told: bool = True
    sight: Sight | None = None


ORDINARY = Account()
