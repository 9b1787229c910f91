"""Which runs start at once and which queue (coordinator), and where they run.

They are forked from a preloaded worker, on Celery's workers, or in a new process.
"""
