"""The launcher on Dagster's side. It hands runs to the worker, or to Dagster's own launcher if no worker takes them."""

import socket
from collections.abc import Mapping
from typing import Any

from dagster import DefaultRunLauncher
from dagster._core.launcher import LaunchRunContext
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._serdes import ConfigurableClassData

from qanatix_pipelines.launcher.calls import ask
from qanatix_pipelines.naming import HOST_TAG


class WarmRunLauncher(DefaultRunLauncher):
    """Starts runs in the worker of this Dagster home. If none takes a run, it starts cold, in a new process."""

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> "WarmRunLauncher":
        return cls(inst_data=inst_data, **config_value)

    def launch_run(self, context: LaunchRunContext) -> None:
        run_id = context.dagster_run.run_id
        self._instance.add_run_tags(run_id, {HOST_TAG: socket.gethostname()})  # before both write to the run
        if not self._told(start=run_id):
            message = "No worker takes the run: it is started cold."
            self._instance.report_engine_event(message, context.dagster_run, cls=self.__class__)
            super().launch_run(context)

    def terminate(self, run_id: str) -> bool:
        """Tell a run's process to end, and return whether it was told. The process itself reports that it has ended.

        A process whose worker has died checks by itself, every few seconds, whether it is to end.
        """
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        if GRPC_INFO_TAG in run.tags:  # started cold
            return bool(super().terminate(run_id))  # type: ignore[no-untyped-call]
        self._instance.report_run_canceling(run)
        return self._told(stop=run_id)

    def _told(self, **request: str) -> bool:
        try:
            return bool(ask(self._instance.root_directory, **request).get("done"))
        except (OSError, ValueError):  # no worker, no answer in time, or not a worker's answer
            return False
