"""Which broker Celery has, whatever the environment says."""

import pytest
from celery.bin.celery import celery
from click.testing import CliRunner

from qanatix_pipelines.launcher.celery import CELERYS_OWN, CeleryPullLauncher

BROKER = "redis://configured.internal:6379/0"


@pytest.mark.parametrize("name", CELERYS_OWN)
def test_the_broker_is_the_launchers_whatever_celerys_own_variables_say(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "redis://elsewhere:1/0")

    told = CeleryPullLauncher(broker=BROKER).celery.conf

    assert {told.broker_url, told.broker_read_url, told.broker_write_url} == {BROKER}
    assert told.result_backend is None


@pytest.mark.parametrize("option", [option for option in celery.params if getattr(option, "envvar", None)])
def test_no_variable_that_celerys_command_line_reads_gives_it_another_broker(
    monkeypatch: pytest.MonkeyPatch, option: object
) -> None:
    """It makes its own variables of these before it loads our application."""
    monkeypatch.setenv(str(getattr(option, "envvar", "")), "memory://elsewhere")
    for name in CELERYS_OWN:
        monkeypatch.setenv(name, "")  # so that what it sets is taken back after the test

    CliRunner().invoke(celery, ["--app", "qanatix_pipelines.launcher.celery_app", "status"])
    told = CeleryPullLauncher(broker=BROKER).celery.conf

    assert {told.broker_url, told.broker_read_url, told.broker_write_url} == {BROKER}
