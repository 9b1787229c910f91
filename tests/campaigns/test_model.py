"""Any history against a model of what the store must hold: hypothesis looks for one that tells them apart."""

from collections.abc import Callable
from unittest import mock

import hypothesis
import hypothesis.stateful
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from qanatix_pipelines import staging
from qanatix_pipelines.settings import Settings
from tests.campaigns.conftest import DEEP
from tests.campaigns.histories import History

STEPS = 50
RUNS = {"sqlite": 2_000 if DEEP else 30, "postgresql": 400 if DEEP else 8}


@pytest.mark.timeout(1500 if not DEEP else 15_000)  # to find one takes a minute, to shorten it five
def test_no_history_tells_the_store_from_the_model(
    settings: Settings, store_kind: str, figures: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A pull that halts has staged all that it has read: what it does meanwhile would depend on the machine's mood.
    monkeypatch.setattr(staging, "OVERLAPPED_BYTES", -1)

    class Kept(History):
        kept_by = settings

    searched = hypothesis.settings(
        max_examples=RUNS[store_kind],
        stateful_step_count=STEPS,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    divergences = 1
    try:
        # It would leave half of the rules out of each run, and pulls must be begun, killed and begun again in one.
        with mock.patch.object(hypothesis.stateful, "FeatureStrategy", return_value=st.just(_All())):
            run_state_machine_as_test(Kept, settings=searched)
        divergences = 0
    finally:
        steps = Kept.checks - Kept.runs
        figures(
            f"model {store_kind}: {Kept.runs} runs, {steps} steps, {Kept.pulls} pulls, "
            f"{Kept.begun_again} begun again, {divergences} divergences"
        )


class _All:
    def is_enabled(self, _rule: str) -> bool:
        return True
