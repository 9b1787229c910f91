"""DSNs: what is read, and what is refused without being shown."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qanatix_pipelines.sources.postgresql.config import Dsn, parse_dsn

GOOD = "postgresql://reader:hunter2@db.internal:5433/shop"


def test_a_dsn_is_read_into_its_parts() -> None:
    assert parse_dsn(GOOD) == Dsn("db.internal", 5433, "reader", "hunter2", "shop", "require")


def test_the_port_is_5432_unless_given() -> None:
    assert parse_dsn("postgres://reader:hunter2@db.internal/shop").port == 5432


def test_percent_encoded_characters_are_decoded() -> None:
    dsn = parse_dsn("postgresql://re%40der:hunter%2F2%23@db.internal/my%20shop")

    assert (dsn.user, dsn.password, dsn.database) == ("re@der", "hunter/2#", "my shop")


@pytest.mark.parametrize(
    ("expected", "dsn"),
    [
        ("require", GOOD),
        ("disable", "postgresql://reader:hunter2@127.0.0.1/shop"),
        ("disable", "postgresql://reader:hunter2@localhost/shop"),
        ("disable", "postgresql://reader:hunter2@[::1]/shop"),
        ("require", "postgresql://reader:hunter2@10.0.0.1/shop"),
        ("disable", GOOD + "?sslmode=disable"),
        ("verify-full", GOOD + "?sslmode=verify-full"),
    ],
)
def test_tls_is_required_unless_said_otherwise_or_on_this_machine(expected: str, dsn: str) -> None:
    assert parse_dsn(dsn).tls == expected


@pytest.mark.parametrize(
    "dsn",
    [
        "",
        "hunter2",
        "mysql://reader:hunter2@db/shop",
        "postgresql://reader@db/shop",
        "postgresql://:hunter2@db/shop",
        "postgresql://reader:hunter2@/shop",
        "postgresql:///shop?host=db&user=reader&password=hunter2",
        "postgresql://reader:hunter2@db",
        "postgresql://reader:hunter2@db/",
        "postgresql://reader:hunter2@db/shop/more",
        "postgresql://reader:hunter2@a,b/shop",
        "postgresql://reader:hunter2@a:1,b:2/shop",
        "postgresql://reader:hunter2@%2Fvar%2Frun/shop",
        "postgresql://reader:hunter2@db:0/shop",
        "postgresql://reader:hunter2@db:99999/shop",
        "postgresql://reader:hunter2@db:port/shop",
        "postgresql://reader:hunter#2@db/shop",
        "postgresql://reader:hunter/2@db/shop",
        GOOD + "#",
        GOOD + "#fragment",
        GOOD + "?host=elsewhere",
        GOOD + "?passfile=/etc/passwd",
        GOOD + "?service=x",
        GOOD + "?sslrootcert=/etc/passwd",
        GOOD + "?options=-cstatement_timeout%3D0",
        GOOD + "?sslmode=prefer",
        GOOD + "?sslmode=hunter2",
        GOOD + "?sslmode=require&sslmode=disable",
        "postgresql://reader:hunter%002@db/shop",
        "postgresql://reader:hunter\n2@db/shop",
    ],
)
def test_anything_else_is_refused_without_showing_it(dsn: str) -> None:
    with pytest.raises(ValueError, match=r"^(is|must|has)") as refused:
        parse_dsn(dsn)

    assert "hunter" not in str(refused.value)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_an_option_that_is_not_allowed_is_named() -> None:
    with pytest.raises(ValueError, match=r"^has the option sslmod that is not allowed; only sslmode and"):
        parse_dsn(GOOD + "?sslmod=require")


@pytest.mark.parametrize("name", ["hunter2", "hunter-", "hünter", "%68unter%20", "hunter" * 6])
def test_the_name_of_an_option_that_may_be_a_secret_is_not_shown(name: str) -> None:
    with pytest.raises(ValueError, match=r"^has an option that is not allowed"):
        parse_dsn(f"{GOOD}?{name}")


@given(st.text())
def test_any_text_is_read_or_refused_and_nothing_else(text: str) -> None:
    for dsn in (text, f"postgresql://{text}", f"postgresql://reader:hunter2@db/shop{text}"):
        with suppress(ValueError):
            assert isinstance(parse_dsn(dsn), Dsn)


@given(password=st.text(min_size=1, alphabet=st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])))
def test_every_password_can_be_written(password: str) -> None:
    from urllib.parse import quote

    assert parse_dsn(f"postgresql://reader:{quote(password, safe='')}@db/shop").password == password


def test_a_dsn_does_not_show_its_password() -> None:
    assert "hunter2" not in repr(parse_dsn(GOOD))
