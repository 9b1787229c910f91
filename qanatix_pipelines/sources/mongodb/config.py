"""A mongodb connector's config. We read its connection string ourselves: the driver gets the parts, never the string.

A connection string may name our files, our cloud identity, more hosts, or a DNS record that names hosts. The driver
only warns of options that it does not know. So we read the parts below and refuse every other one. The form is that of
MongoDB's Connection String Specification, with exactly one host, and always a user and a password.
"""

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import SecretStr, field_validator

from qanatix_pipelines.sources.addresses import check_characters, is_this_machine, login, one_host
from qanatix_pipelines.sources.source import SourceConfig
from qanatix_pipelines.tls import Tls

MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-1")
READ_PREFERENCES = ("primary", "primaryPreferred", "secondary", "secondaryPreferred", "nearest")
_ALLOWED = ("authSource", "authMechanism", "tls", "readPreference", "appName")

# Options that the driver knows. Nothing else of a connection string is shown: it may be a piece of a password.
_KNOWN = """
    authMechanismProperties compressors connectTimeoutMS directConnection enableOverloadRetargeting fsync
    heartbeatFrequencyMS j journal loadBalanced localThresholdMS maxAdaptiveRetries maxConnecting maxIdleTimeMS
    maxPoolSize maxStalenessSeconds minPoolSize proxyHost proxyPassword proxyPort proxyUsername readConcernLevel
    readPreferenceTags replicaSet retryReads retryWrites serverMonitoringMode serverSelectionTimeoutMS
    serverSelectionTryOnce socketTimeoutMS srvMaxHosts srvServiceName ssl timeoutMS tlsAllowInvalidCertificates
    tlsAllowInvalidHostnames tlsCAFile tlsCertificateKeyFile tlsCertificateKeyFilePassword tlsCRLFile
    tlsDisableCertificateRevocationCheck tlsDisableOCSPEndpointCheck tlsInsecure unicodeDecodeErrorHandler
    uuidRepresentation w waitQueueMultiple waitQueueTimeoutMS wTimeoutMS zlibCompressionLevel
""".split()  # noqa: SIM905  # a list of strings would fill a page


@dataclass(frozen=True)
class MongoUri:
    """`auth_mechanism` and `read_preference` are None where the string leaves them to the server and the driver."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    auth_source: str
    auth_mechanism: str | None
    read_preference: str | None
    tls: bool


def parse_mongo_uri(text: str) -> MongoUri:
    """Raises ValueError with a sentence that holds nothing of `text` but names of options.

    Without `tls`, TLS is on except towards this machine itself. Where it is on, the certificate is verified.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        # The parser's own message would show the part that it stumbled over, and that may be the password.
        raise ValueError(
            "is not a valid URI: it has one host, a port is a number up to 65535, an IPv6 address stands in brackets, "
            "and a password's special characters are percent-encoded, such as %2F for / and %40 for @"
        ) from None
    _check_scheme(parts.scheme)
    host = one_host(parts, text)
    user, password = login(parts)
    database = unquote(parts.path.removeprefix("/"))
    if "/" in database:
        raise ValueError("must name no more than one database after the host")
    options = _options(parts.query)
    auth_source = options.get("authSource", database or "admin")
    check_characters(host + user + password + auth_source)
    return MongoUri(
        host=host,
        port=port or 27017,
        user=user,
        password=password,
        auth_source=auth_source,
        auth_mechanism=_one_of(options, "authMechanism", MECHANISMS),
        read_preference=_one_of(options, "readPreference", READ_PREFERENCES),
        tls=_one_of(options, "tls", ("true", "false")) != "false" if "tls" in options else not is_this_machine(host),
    )


def _check_scheme(scheme: str) -> None:
    if scheme == "mongodb+srv":
        raise ValueError("must begin with mongodb://; mongodb+srv:// would take its hosts and options from the DNS")
    if scheme != "mongodb":
        raise ValueError("must begin with mongodb://, as in mongodb://user:password@host:27017/?authSource=admin")


def _options(query: str) -> dict[str, str]:
    """The options by their names, whose case does not matter in a connection string."""
    allowed = {name.lower(): name for name in _ALLOWED}
    known = {name.lower(): name for name in _KNOWN}
    options: dict[str, str] = {}
    for given, value in parse_qsl(query, keep_blank_values=True):
        name = allowed.get(given.lower())
        if name is None:
            named = known.get(given.lower(), "one of its options")
            raise ValueError(f"must not hold {named}; allowed are {', '.join(_ALLOWED)}")
        if name in options:
            raise ValueError(f"has {name} twice")
        if not value:
            raise ValueError(f"has {name} without a value")
        options[name] = value
    return options


def _one_of(options: dict[str, str], name: str, values: tuple[str, ...]) -> str | None:
    value = options.get(name)
    if value is not None and value not in values:
        raise ValueError(f"has an unknown {name}; it is one of {', '.join(values)}")
    return value


class Config(SourceConfig):
    """connection_config of a mongodb connector."""

    uri: SecretStr
    database: str
    collection: str

    @field_validator("uri", mode="after")
    @classmethod
    def _readable(cls, uri: SecretStr) -> SecretStr:
        parse_mongo_uri(uri.get_secret_value())
        return uri

    @field_validator("database", mode="after")
    @classmethod
    def _a_database(cls, name: str) -> str:
        # MongoDB manual, "Naming Restrictions"; the stricter ones, of Windows, are every driver's.
        if not 0 < len(name.encode(errors="replace")) < 64 or any(letter in '/\\. "$*<>:|?\x00' for letter in name):  # noqa: PLR2004
            raise ValueError("is not the name of a database")
        return name

    @field_validator("collection", mode="after")
    @classmethod
    def _a_collection(cls, name: str) -> str:
        malformed = name.startswith(".") or name.endswith(".") or ".." in name or "$" in name or "\x00" in name
        if not 0 < len(name.encode(errors="replace")) < 256 or malformed or name.startswith("system."):  # noqa: PLR2004
            raise ValueError("is not the name of a collection that can be pulled")
        return name

    def identity(self) -> tuple[object, ...]:
        uri = parse_mongo_uri(self.uri.get_secret_value())
        return uri.host, uri.port, self.database, self.collection, uri.user

    def connection(self) -> dict[str, str | int]:
        uri = parse_mongo_uri(self.uri.get_secret_value())
        return {
            "host": uri.host,
            "port": uri.port,
            "database": self.database,
            "collection": self.collection,
            "user": uri.user,
            "auth_source": uri.auth_source,
        }

    def protection(self) -> Tls:
        return "verified" if parse_mongo_uri(self.uri.get_secret_value()).tls else "none"
