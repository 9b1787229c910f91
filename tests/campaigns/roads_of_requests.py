"""Requests that work, and each way known in which one is refused, with secrets where they belong and where not."""

import json
from urllib.parse import quote
from uuid import uuid4

from tests.campaigns.journey import MARK, Journey
from tests.campaigns.roads import only, road
from tests.campaigns.roads_of_pulls import mongodb_address

MERGE_PATCH = "application/merge-patch+json"

# Requests that succeed


@road(204)
def _connector_that_is_listed_shown_changed_and_deleted(j: Journey) -> int:
    connector = j.registered({"dsn": j.dsn()})
    answers = [
        j.api.get("/connectors"),
        j.api.get(f"/connectors/{connector}"),
        j.api.get(f"/connectors/{connector}/pulls"),
        j.api.patch(f"/connectors/{connector}", json={"name": "Other", "connection_config": "***REDACTED***"}),
        j.api.patch(f"/connectors/{connector}", content=b'{"id_column": null}', headers={"Content-Type": MERGE_PATCH}),
        j.api.head(f"/connectors/{connector}"),
        j.api.get("/entities"),
    ]
    assert [answer.status_code for answer in answers] == [200] * 7
    return j.api.delete(f"/connectors/{connector}").status_code


@road(200)
def _watermark_that_is_set_and_shown(j: Journey) -> int:
    query = f"SELECT id, name FROM items WHERE id > :last_pull AND name <> '{j.secrets.literal}'"
    connector = j.registered({"dsn": j.dsn()}, query, cursor_column="id")
    answers = [
        j.api.put(f"/connectors/{connector}/watermark", json={"value": 1}),
        j.api.get(f"/connectors/{connector}/watermark"),
        j.api.post(f"/connectors/{connector}/pull", json={"since": 0, "limit": 2}),
        j.api.put(f"/connectors/{connector}/watermark", json={"value": None}),
    ]
    return only({answer.status_code for answer in answers})


@road(204)
def _api_key_that_is_made_listed_rotated_and_revoked(j: Journey) -> int:
    assert j.command("keys", "create", "--scope", "admin", "--scope", "pulls:run", shown=True) == 0
    with j.client(j.secrets.api_keys[-1]) as admin:
        admin.event_hooks = {}  # who makes a key is shown it
        once = {"Idempotency-Key": str(uuid4())}
        made, again = (
            admin.post("/auth/keys", json={"name": "made", "scopes": ["pulls:run"]}, headers=once).json()
            for _ in range(2)
        )
        assert made == again
        rotated = admin.post(f"/auth/keys/{made['id']}/rotate", json={"grace_seconds": 60}).json()
        j.secrets.api_keys += [made["key"], rotated["key"]]
        admin.event_hooks = {"response": [j.system._note]}
        assert admin.get("/auth/keys").status_code == 200
        assert admin.post("/auth/keys", json={"name": "x", "scopes": [j.secrets.value]}).status_code == 422
        return admin.delete(f"/auth/keys/{made['id']}").status_code


@road(204)
def _connector_that_is_put_and_replaced_by_its_key_and_found_in_lists(j: Journey) -> int:
    path = f"/connectors/by-key/{uuid4()}"
    body = j.body({"dsn": j.dsn()})
    made = j.api.put(path, json=body)
    kept = body | {"connection_config": "***REDACTED***", "name": "Other"}
    answers = [
        j.api.put(path, json=body, headers={"If-Match": made.headers["ETag"]}),
        j.api.put(path, json=kept),
        j.api.get(path),
        j.api.get("/connectors?limit=1&name=Other&connector_type=postgresql"),
        j.api.get("/pulls?trigger=api&limit=5"),
        j.api.get("/records?limit=5"),
        j.api.get("/collections"),
    ]
    assert (made.status_code, [answer.status_code for answer in answers]) == (201, [200] * 7)
    assert j.api.put(path, json=body, headers={"If-Match": made.headers["ETag"]}).status_code == 412
    return j.api.delete(f"/connectors/{made.json()['id']}").status_code


@road(204)
def _post_that_is_repeated(j: Journey) -> int:
    """With an Idempotency-Key and without; and with another body, and a body of which nothing is taken."""
    headers = {"Idempotency-Key": j.secrets.value.encode().hex()}
    body = j.body({"dsn": j.dsn()}, name="Repeated")
    answers = [j.api.post("/connectors", json=body, headers=headers) for _ in range(2)]
    assert [(answer.status_code, answer.json()["id"]) for answer in answers] == [(201, answers[0].json()["id"])] * 2
    other = j.body({"dsn": j.secrets.value}, name="Repeated")
    assert [j.api.post("/connectors", json=other, headers=headers).json()["code"]] == ["idempotency_key_reused"]
    again = {"Idempotency-Key": str(uuid4())}
    assert j.api.post("/connectors", json=other, headers=again).status_code == 422
    alike = [j.api.post("/connectors", json=body).json()["id"] for _ in range(2)]
    assert alike == [alike[0]] * 2
    j.api.delete(f"/connectors/{alike[0]}")
    return j.api.delete(f"/connectors/{answers[0].json()['id']}").status_code


# Requests that fail


@road(422)
def _secret_as_an_unknown_options_value(j: Journey) -> int:
    return j.post(j.body({"dsn": j.dsn(), "sslpassword": j.secrets.value}))


@road(422)
def _secret_as_an_unknown_options_name(j: Journey) -> int:
    return j.post(j.body({"dsn": j.dsn(), j.secrets.name: "x"}))


@road(422)
def _secret_as_an_unknown_fields_value_and_name(j: Journey) -> int:
    return j.post(j.body({"dsn": j.dsn()}, secret=j.secrets.value, **{j.secrets.name: "x"}))


@road(422)
def _secret_in_an_option_of_the_dsn_that_is_refused(j: Journey) -> int:
    return j.post(j.body({"dsn": j.dsn(options=f"sslpassword={quote(j.secrets.tls, safe='')}")}))


@road(422)
def _dsn_that_is_none(j: Journey) -> int:
    """With a password that nobody has encoded, in each place of the address, and of another type."""
    host = j.harness.server.address.rpartition("@")[2]
    wrong = [
        f"postgresql://{j.user}:{j.secrets.value}@{host}",
        f"postgresql://{j.user}:x@{j.secrets.value}/shop",
        f"postgresql://{j.user}:x@db:{j.secrets.value}/shop",
        f"postgresql://{j.user}:x@db/shop?{j.secrets.name}={j.secrets.value}",
        f"{j.secrets.value}://{host}",
        f"postgresql://{j.user}:x@{quote(j.secrets.value, safe='')}/{quote(j.secrets.value, safe='')}@{host}",
        [j.secrets.value],
        {j.secrets.name: j.secrets.value},
        None,
    ]
    return only({j.post(j.body({"dsn": dsn})) for dsn in wrong} | {j.post(j.body(j.secrets.value))})


@road(422)
def _address_of_every_other_type_that_is_none(j: Journey) -> int:
    secret = j.secrets.value
    configs = {
        "mongodb": {"uri": f"mongodb://u:{secret}@db,{secret}/?{j.secrets.name}={secret}", "database": secret},
        "neo4j": {"uri": f"bolt://neo4j:{secret}@db", "user": secret, "password": [secret], "database": "d"},
        "mysql": {"host": [secret], "port": secret, "user": "u", "password": {j.secrets.name: secret}},
        "sqlite": {"path": f"file:{secret}", secret: secret},
        secret: {"dsn": secret},
    }
    return only({j.post(j.body(config, connector_type=kind)) for kind, config in configs.items()})


@road(422)
def _secret_in_every_other_field(j: Journey) -> int:
    fields = ("vertical", "entity_type", "batch_size", "overlap", "cursor_column")
    wrong = [{field: [j.secrets.value]} for field in fields] + [{"batch_size": j.secrets.value}]
    wrong += [{"vertical": j.secrets.value}, {"name": j.secrets.value * 9}, {"name": {j.secrets.name: 1}}]
    return only({j.post(j.body({"dsn": j.dsn()}, **fields)) for fields in wrong})


@road(422)
def _query_that_is_none(j: Journey) -> int:
    config = {"uri": mongodb_address(j), "database": "shop", "collection": "orders"}
    query = '{"$where": "' + j.secrets.literal + '"}'
    return j.post(j.body(config, query, connector_type="mongodb"))


@road(422)
def _change_that_is_refused(j: Journey) -> int:
    connector = j.registered({"dsn": j.dsn()})
    wrong = [{"connection_config": {"dsn": j.secrets.value}}, {"connection_config": j.secrets.value}]
    wrong += [{"connection_config": {"dsn": j.dsn(), j.secrets.name: 1}}, {j.secrets.name: j.secrets.value}]
    return only({j.api.patch(f"/connectors/{connector}", json=change).status_code for change in wrong})


@road(422)
def _watermark_and_part_that_are_refused(j: Journey) -> int:
    connector = j.registered({"dsn": j.dsn()})
    secret = j.secrets.value
    wrong = [{"value": secret}, {"value": {secret: 1}}, {"value": None, j.secrets.name: secret}, secret]
    statuses = {j.api.put(f"/connectors/{connector}/watermark", json=body).status_code for body in wrong}
    wrong = [{field: secret} for field in ("since", "until", "limit", j.secrets.name)]
    return only(statuses | {j.api.post(f"/connectors/{connector}/pull", json=body).status_code for body in wrong})


@road(400)
def _body_that_is_no_json(j: Journey) -> int:
    bodies = [f'{{"dsn": "{j.dsn()}"', f'{{"dsn": {j.secrets.value}}}', j.secrets.value]
    headers = {"Content-Type": "application/json"}
    return only({j.api.post("/connectors", content=body, headers=headers).status_code for body in bodies})


@road(422)
def _json_that_is_not_taken(j: Journey) -> int:
    name, value = json.dumps(j.secrets.name), json.dumps(j.secrets.value)
    content = f'{{"dsn": {value}, "dsn": {value}, {name}: NaN}}'
    return j.api.post("/connectors", content=content, headers={"Content-Type": "application/json"}).status_code


@road(413)
def _body_that_is_too_long(j: Journey) -> int:
    return j.post(j.body({"dsn": j.dsn()}, name=j.secrets.value * 5000))


@road(415)
def _body_of_another_type(j: Journey) -> int:
    return j.api.post("/connectors", content=j.dsn(), headers={"Content-Type": "text/plain"}).status_code


@road(404)
def _connector_that_is_not_there(j: Journey) -> int:
    body = {"connection_config": {"dsn": j.dsn()}}
    return only(
        {
            j.api.patch(f"/connectors/{uuid4()}", json=body).status_code,
            j.api.post(f"/connectors/{uuid4()}/pull").status_code,
            j.api.delete(f"/connectors/{uuid4()}").status_code,
            j.api.get(f"/connectors/{uuid4()}").status_code,
        }
    )


@road(403)
def _key_that_lacks_a_scope(j: Journey) -> int:
    assert j.command("keys", "create", "--scope", "entities:read", shown=True) == 0
    with j.client(j.secrets.api_keys[-1]) as reader:
        return reader.post("/connectors", json=j.body({"dsn": j.dsn()})).status_code


@road(429)
def _wrong_keys_until_the_address_is_refused(j: Journey) -> int:
    key = j.secrets.api_keys[0]
    wrong = [f"Bearer {key[:-1]}x", f"Basic {key}", f"Bearer {key} {key}", f"Bearer {j.secrets.value[:12]}", key]
    statuses = []
    with j.client("") as nobody:
        for number in range(40):
            headers = {"Authorization": wrong[number % len(wrong)], "X-Request-Id": MARK}
            statuses.append(nobody.post("/connectors", json=j.body({"dsn": j.dsn()}), headers=headers).status_code)
    assert statuses[0] == 401
    return statuses[-1]
