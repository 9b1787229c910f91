"""Our own code location: `dagster dev`, the code server and every run load `defs` from here."""

import dagster as dg

from qanatix_pipelines.defs.build import build_defs
from qanatix_pipelines.defs.retention import retention, retention_schedule
from qanatix_pipelines.settings import read_settings

defs = dg.Definitions.merge(
    build_defs(read_settings()),
    dg.Definitions(
        # Not for other projects: what becomes of their runs is theirs to say.
        jobs=[retention],
        schedules=[retention_schedule],
        executor=dg.in_process_executor,  # for the UI's own Materialize button
    ),
)
