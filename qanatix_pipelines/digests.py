"""SHA-256 over texts, and UUIDs that are made of it, as bytes."""

from typing import cast

import polars as pl
import polars_hash  # noqa: F401  # adds `chash` to expressions

_DIGEST_BYTES, _UUID_BYTES = 32, 16
# The bytes of a UUID that hold its version, which is 8, and its variant (RFC 9562, section 4).
_VERSION_AT, _WITH_VERSION = 6, bytes(0x80 | byte & 0x0F for byte in range(256))
_VARIANT_AT, _WITH_VARIANT = 8, bytes(0x80 | byte & 0x3F for byte in range(256))


def sha256(texts: pl.Expr) -> pl.Expr:
    """The digest of each text, in hex digits: polars_hash gives no bytes."""
    return cast(pl.Expr, texts.chash.sha2_256())  # type: ignore[attr-defined]


def as_bytes(digests: pl.Series) -> pl.Series:
    """Digests in hex digits, none of them null, as their 32 bytes."""
    return _each(_joined(digests), _DIGEST_BYTES)


def as_uuids(digests: pl.Series) -> pl.Series:
    """UUIDs of version 8, as their 16 bytes, made of the first bits of digests in hex digits, none of them null."""
    octets = bytearray(_joined(digests))
    # Every UUID's byte at once: a slice with a step.
    for at, changed in ((_VERSION_AT, _WITH_VERSION), (_VARIANT_AT, _WITH_VARIANT)):
        octets[at::_DIGEST_BYTES] = octets[at::_DIGEST_BYTES].translate(changed)
    return _each(bytes(octets), _UUID_BYTES)


def _joined(digests: pl.Series) -> bytes:
    # Twice as fast as Polars' own decoding.
    return bytes.fromhex(digests.str.join("").item())


def _each(octets: bytes, length: int) -> pl.Series:
    """The first bytes of each digest in `octets`."""
    starts = pl.int_range(0, len(octets), _DIGEST_BYTES)
    return pl.select(pl.lit(octets).bin.slice(starts, length)).to_series()
