"""What an account may do at its source beyond reading rows: rights that a query could use, though it may only read.

A read-only transaction stops what writes rows. It does not stop functions that read or write the server's files, run
programs there, or act on the server as a whole: only the account's rights do. Each module is called by its connector
type, and holds the question to the source and what its answer means.
"""
