"""What an endpoint works with. All of it is made by `create_app` and handed over in the application's state."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from qanatix_api.runs import Runs
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.store.keys import KeyStore
from qanatix_pipelines.store.opening import Store


@dataclass(frozen=True)
class Services:
    settings: Settings
    store: Store
    keys: KeyStore
    runs: Runs


def services(request: Request) -> Services:
    given: Services = request.app.state.services
    return given


Given = Annotated[Services, Depends(services)]
