"""The API against its own document: whatever that allows, whatever it does not, and bodies made to break readers."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from requests import PreparedRequest
from requests.auth import AuthBase
from schemathesis import engine, openapi
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events

from qanatix_pipelines.keys import Scope
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.store.keys import KeyStore
from qanatix_pipelines.store.opening import open_store
from tests.campaigns.conftest import DEEP
from tests.campaigns.hostile_bodies import BODIES, CANARY, GOOD
from tests.conftest import ENCRYPTION_KEY, PEPPER
from tests.fakes import FakeDagster, completing
from tests.served import Served, served
from tests.test_looks_api import answering, report

SEED = 20261124
EXAMPLES = 1_200 if DEEP else 12  # for each operation
LEAST_CASES = 5_000 if DEEP else 300
CONFIG = {
    "seed": SEED,
    "cache": {"enabled": False},
    "generation": {"max-examples": EXAMPLES},
    "checks": {
        "enabled": True,
        # A query's grammar, a type's own connection_config and where a page ends are more than a schema can say.
        "positive_data_acceptance": {"expected-statuses": ["2xx", "401", "403", "404", "409", "412", "413", "422"]},
        # A body that is too long is refused before its fields are looked at.
        "negative_data_rejection": {"expected-statuses": ["400", "401", "403", "404", "405", "413", "415", "422"]},
    },
    # `test` stands where ids do, so methods of one connector are taken there.
    "operations": [
        {
            "include-operation-id": "test_unsaved_connector",
            "checks": {"unsupported_method": {"enabled": False}, "allow_header_conformance": {"enabled": False}},
        }
    ],
}
REFUSALS = (400, 413, 415, 422)


class ValidKey(AuthBase):
    """A key that may do everything; a new one whenever the last was revoked or rotated, as the API allows."""

    def __init__(self, store: KeyStore) -> None:
        self._store = store
        self._text = ""

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        if self._store.find(self._text) is None:
            self._text = self._store.create("fuzz", frozenset(Scope)).text
        request.headers["Authorization"] = f"Bearer {self._text}"
        return request


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Served]:
    settings = Settings(
        data_dir=tmp_path,
        encryption_key=ENCRYPTION_KEY,
        pepper=PEPPER,
        reads_per_minute=1_000_000,
        writes_per_minute=1_000_000,
        pulls_per_minute=1_000_000,
        failed_keys_per_minute=1_000_000,
    )
    store = open_store(settings)
    dagster = FakeDagster(completing(store))
    dagster.on_look = answering(store, report())
    with served(settings.model_copy(update={"dagster_url": dagster.url})) as running:
        yield running
    dagster.stop()
    store.engine.dispose()


@pytest.mark.timeout(7200 if DEEP else 300)
def test_the_api_keeps_to_its_document(api: Served, figures: Callable[[str], None]) -> None:
    schema = openapi.from_url(f"{api.url}/openapi.json", config=SchemathesisConfig.from_dict(CONFIG))
    schema.auth.set_from_requests(ValidKey(api.app.state.services.keys))
    answers: Counter[int] = Counter()
    breaches: list[str] = []

    for event in engine.from_schema(schema).execute():
        if isinstance(event, events.NonFatalError | events.FatalError):
            breaches.append(repr(event))
        if isinstance(event, events.ScenarioFinished):
            answers.update(
                interaction.response.status_code
                for interaction in event.recorder.interactions.values()
                if interaction.response is not None
            )
            breaches += [
                f"{check.name}: {check.failure_info.failure}\n{check.failure_info.code_sample}"
                for checks in event.recorder.checks.values()
                for check in checks
                if check.failure_info is not None
            ]

    faults = sum(count for status, count in answers.items() if status >= 500)
    figures(
        f"api fuzz: {answers.total()} requests, {faults} answers >= 500, {len(breaches)} breaches of the document, "
        f"answers {dict(sorted(answers.items()))}"
    )
    assert breaches == [], "\n".join(breaches)
    assert faults == 0
    assert answers.total() - answers[401] >= LEAST_CASES  # each that succeeds is tried again without a key
    assert {200, 201, 204, 401, 404, 422} <= answers.keys()  # it came to where things are done


def test_no_hostile_body_breaks_the_api_or_is_repeated(api: Served, figures: Callable[[str], None]) -> None:
    keys: KeyStore = api.app.state.services.keys
    headers = {"Authorization": f"Bearer {keys.create('hostile', frozenset(Scope)).text}"}
    with httpx2.Client(base_url=f"{api.url}/api/v1", headers=headers) as client:
        good = client.post("/connectors", json=GOOD)
        connector = good.json()["id"]
        routes = [
            ("POST", "/connectors"),
            ("PATCH", f"/connectors/{connector}"),
            ("POST", f"/connectors/{connector}/pull"),
            ("POST", "/auth/keys"),
            ("POST", f"/auth/keys/{keys.create('other').id}/rotate"),
        ]
        answers = [
            (position, route, client.request(*route, content=body, headers=_headers(media_type, encoding)))
            for position, (body, media_type, encoding) in enumerate(BODIES)
            for route in routes
        ]

    said = [answer.text + str(answer.headers) for _, _, answer in answers]
    faults = sum(answer.status_code >= 500 for _, _, answer in answers)
    echoes = sum(CANARY in text for text in said)
    figures(f"hostile bodies: {len(BODIES)} bodies, {len(answers)} answers, {faults} >= 500, {echoes} echoes")
    assert good.status_code == 201
    assert faults == 0
    taken = [
        position for position, route, answer in answers if route == routes[0] and answer.status_code not in REFUSALS
    ]
    assert taken == []
    assert echoes == 0
    assert len(BODIES) >= 60


def _headers(media_type: str, encoding: str | None) -> dict[str, str]:
    return {"Content-Type": media_type} | ({} if encoding is None else {"Content-Encoding": encoding})
