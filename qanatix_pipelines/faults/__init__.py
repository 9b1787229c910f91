"""What a source's errors mean for the caller of a pull, in our own sentences and by closed lists of codes.

`_TRANSIENT` of each list is what may be gone when the pull is tried again: a lost connection, a server that restarts or
is full, a transaction that was given up for another. Never a refused login, TLS, a query, its result, or a deadline of
ours: those would fail alike, and a wrong password that is repeated locks accounts.
"""
