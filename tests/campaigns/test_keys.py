"""Whether the time of a refusal tells which keys there are: a figure, for a busy machine's clock proves nothing."""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import httpx2

from qanatix_pipelines.keys import new_key
from qanatix_pipelines.settings import Settings
from tests.campaigns.conftest import DEEP
from tests.conftest import ENCRYPTION_KEY, PEPPER
from tests.served import served

REQUESTS = 20_000 if DEEP else 300


def test_an_unknown_key_and_a_known_one_with_another_secret_are_answered_alike(
    tmp_path: Path, figures: Callable[[str], None]
) -> None:
    settings = Settings(
        data_dir=tmp_path, encryption_key=ENCRYPTION_KEY, pepper=PEPPER, failed_keys_per_minute=1_000_000
    )
    seconds: dict[str, list[float]] = {"unknown": [], "known": []}
    answers = set()
    with served(settings) as api, httpx2.Client(base_url=api.url) as client:
        known = api.key[8:16]
        for _ in range(REQUESTS):
            for kind, key in (("unknown", new_key()), ("known", new_key(known))):
                headers = {"Authorization": f"Bearer {key.text}", "X-Request-Id": "same"}
                started = time.perf_counter()
                answer = client.get("/api/v1/connectors", headers=headers)
                seconds[kind].append(time.perf_counter() - started)
                answers.add((answer.status_code, answer.text, answer.headers["WWW-Authenticate"]))

    medians = {kind: median(times) * 1000 for kind, times in seconds.items()}
    apart = abs(medians["known"] - medians["unknown"]) / medians["unknown"]
    figures(
        f"key timing: {REQUESTS} each, median {medians['unknown']:.3f} ms for an unknown id, "
        f"{medians['known']:.3f} ms for a known one, {apart:.1%} apart"
    )
    assert len(answers) == 1
    assert answers.pop()[0] == 401
