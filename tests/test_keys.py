"""API keys."""

import string

from hypothesis import given
from hypothesis import strategies as st

from qanatix_pipelines.keys import new_key, parse_key

KEY = new_key()


def test_a_key_is_its_prefix_and_64_hexadecimal_digits() -> None:
    digits = KEY.text.removeprefix("sk_live_")

    assert len(digits) == 64
    assert set(digits) <= set(string.hexdigits.lower())


def test_a_key_parses_to_itself() -> None:
    assert parse_key(KEY.text) == KEY


@given(position=st.integers(8, len(KEY.text) - 1), digit=st.sampled_from("0123456789abcdef"))
def test_one_mistyped_digit_is_noticed(position: int, digit: str) -> None:
    typed = KEY.text[:position] + digit + KEY.text[position + 1 :]

    assert parse_key(typed) == (KEY if typed == KEY.text else None)


@given(st.text())
def test_other_text_is_no_key(text: str) -> None:
    assert parse_key(text) is None


def test_a_key_does_not_show_itself() -> None:
    assert KEY.text not in repr(KEY)


def test_its_digest_depends_on_the_pepper() -> None:
    assert KEY.digest(b"one pepper") != KEY.digest(b"another pepper")
