"""MongoDB connection strings, read by us: the driver gets the parts and never the user's string.

A connection string may name our files, our cloud identity, more hosts, or a DNS record that names them; the driver only
warns of what it does not know. So only the parts below are read, and every other one is refused. The form is that of
MongoDB's Connection String Specification, with one host, and a user and password always.
"""

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from qanatix_pipelines.addresses.parts import check_characters, is_this_machine, login, one_host

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
