"""Connection configs that would lead a pull astray: to this machine, to a cloud's metadata, to files of ours."""

from collections.abc import Iterator
from typing import Any

Case = tuple[str, dict[str, Any]]

# Ways to write this machine, the unspecified address, private networks and metadata.
HOSTS = (
    *(
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "017700000001",
        "0",
        "0.0.0.0",
    ),
    *(
        "localhost",
        "LOCALHOST",
        "localhost.",
        "localhost.localdomain",
        "ip6-localhost",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
    ),
    *(
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[::127.0.0.1]",
        "[fe80::1%25lo]",
    ),
    *(
        "169.254.169.254",
        "[fd00:ec2::254]",
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
        "[::ffff:169.254.169.254]",
    ),
    *("10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "[fc00::1]", "224.0.0.1", "255.255.255.255"),
)
# What no host is, or more than one.
_MALFORMED_HOSTS = (
    *(
        "",
        "%2Fvar%2Frun",
        "%2Ftmp%2F.s",
        "/var/run/postgresql",
        "127.0.0.1,127.0.0.1",
        "a..b",
        "..",
        "host name",
        "h\tost",
    ),
    *(
        "127.0.0.1%00.example.com",
        "ⓛocalhost",
        "127。0。0。1",
        "example.com@127.0.0.1",
        "127.0.0.1#",
        "127.0.0.1?",
        "[::1",
    ),
)


def cases(port: int, file: str) -> Iterator[Case]:
    """At least 400, over the four types. Who follows one connects to `port` on this machine, or opens `file`."""
    for one in (_postgresql, _mysql, _mongodb, _neo4j):
        yield from ((one.__name__[1:], config) for config in one(port, file))


def _postgresql(port: int, file: str) -> Iterator[dict[str, Any]]:
    for host in (*HOSTS, *_MALFORMED_HOSTS):
        for scheme in ("postgresql", "postgres"):
            yield {"dsn": f"{scheme}://user:case@{host}:{port}/db?sslmode=disable"}
        yield {"dsn": f"postgresql://user:case@{host}:{port}/db"}
    options = (
        *(f"host=127.0.0.1&port={port}", "hostaddr=127.0.0.1", f"port={port}", "user=root", "password=x", "dbname=x"),
        *(f"passfile={file}", "service=x", f"servicefile={file}", f"sslcert={file}", f"sslkey={file}", "sslpassword=x"),
        *(f"sslrootcert={file}", f"sslcrl={file}", f"sslcrldir={file}", "sslmode=prefer", "sslmode=allow", "sslmode=x"),
        *("sslnegotiation=direct", "target_session_attrs=primary", "krbsrvname=x", "gsslib=x", "gssencmode=prefer"),
        *(
            "options=-c%20role%3Dpostgres",
            "session_preload_libraries=x",
            "statement_timeout=0",
            "fallback_application_name=x",
        ),
        *(
            "sslmode=disable&sslmode=require",
            "SSLMODE=disable",
            "replication=database",
            "channel_binding=disable",
            "=x",
            "x",
        ),
    )
    for option in options:
        yield {"dsn": f"postgresql://user:case@127.0.0.1:{port}/db?{option}"}
    for dsn in (
        *(
            f"postgresql://127.0.0.1:{port}/db",
            f"postgresql://user@127.0.0.1:{port}/db",
            "postgresql://",
            "postgresql:///db",
        ),
        *(
            f"postgresql://:case@127.0.0.1:{port}/db",
            f"postgresql://user:case@127.0.0.1:{port}",
            f"host=127.0.0.1 port={port}",
        ),
        *(
            "postgresql://user:case@127.0.0.1:99999/db",
            "postgresql://user:case@127.0.0.1:-1/db",
            f"http://127.0.0.1:{port}/",
        ),
        *(f"postgresql+psycopg2://user:case@127.0.0.1:{port}/db", f"file://{file}", file, "", "service=x", "\x00"),
    ):
        yield {"dsn": dsn}
    yield from (
        {},
        {"dsn": None},
        {"dsn": 1},
        {"dsn": "x", "host": "127.0.0.1"},
        {"host": "127.0.0.1", "port": port},
    )


def _mysql(port: int, file: str) -> Iterator[dict[str, Any]]:
    good = {"host": "127.0.0.1", "port": port, "user": "user", "password": "case", "database": "db", "tls": "disabled"}
    for host in (*HOSTS, *_MALFORMED_HOSTS):
        yield good | {"host": host.strip("[]") if host.endswith("]") else host}
    for option, value in {
        **dict.fromkeys(("unix_socket", "sock", "read_default_file", "ssl_ca", "ssl_key", "ssl_cert"), file),
        "read_default_group": "client",
        "local_infile": True,
        "init_command": "SELECT 1",
        "client_flag": 1,
        "db": "x",
        "ssl": {"ca": file},
        "auth_plugin_map": {},
        "server_public_key": file,
        "conv": {},
        "sql_mode": "",
        "charset": "x",
        "program_name": "x",
        "bind_address": "127.0.0.1",
        "connect_timeout": 0,
        "max_allowed_packet": 0,
        "echo": True,
        "tls": "preferred",
        "port": "3306",
        "user": None,
        "password": "",
        "database": ["x"],
        "host": file,
        "passwd": "x",
    }.items():
        yield good | {option: value}
    for port_given in (0, -1, 65_536, 1.5, True):
        yield good | {"port": port_given}
    for missing in ("user", "password", "database", "host"):
        yield {name: value for name, value in good.items() if name != missing}


def _mongodb(port: int, file: str) -> Iterator[dict[str, Any]]:
    place = {"database": "db", "collection": "c"}
    for host in (*HOSTS, *_MALFORMED_HOSTS):
        yield place | {"uri": f"mongodb://user:case@{host}:{port}/?tls=false"}
        yield place | {"uri": f"mongodb://user:case@{host}:{port}"}
    options = (
        *(
            f"tlsCAFile={file}",
            f"tlsCertificateKeyFile={file}",
            "tlsCertificateKeyFilePassword=x",
            f"tlsCRLFile={file}",
        ),
        *(
            "tlsInsecure=true",
            "tlsAllowInvalidCertificates=true",
            "tlsAllowInvalidHostnames=true",
            "ssl=false",
            "tls=maybe",
        ),
        *("authMechanism=MONGODB-OIDC&authMechanismProperties=ENVIRONMENT:azure", "authMechanism=MONGODB-AWS"),
        *(
            "authMechanism=GSSAPI&authMechanismProperties=SERVICE_HOST:x",
            "authMechanism=PLAIN",
            "authMechanism=MONGODB-X509",
        ),
        *("authMechanism=MONGODB-OIDC&authMechanismProperties=ENVIRONMENT:gcp", "authMechanismProperties=X:Y"),
        *("compressors=zlib", "loadBalanced=true", "replicaSet=rs", "directConnection=false", "w=0", "journal=true"),
        *(
            "srvServiceName=x",
            "srvMaxHosts=1",
            "proxyHost=127.0.0.1",
            f"proxyPort={port}",
            "maxPoolSize=1000",
            "unknown=1",
        ),
        *(
            "readPreference=x",
            "readPreferenceTags=dc:x",
            "retryWrites=true",
            "timeoutMS=0",
            "socketTimeoutMS=0",
            "uuid=x",
        ),
    )
    for option in options:
        yield place | {"uri": f"mongodb://user:case@127.0.0.1:{port}/?{option}"}
    for uri in (
        *(
            f"mongodb+srv://user:case@127.0.0.1:{port}",
            "mongodb+srv://user:case@localhost/",
            f"mongodb://127.0.0.1:{port}",
        ),
        *(
            f"mongodb://user:case@127.0.0.1:{port},127.0.0.2:{port}",
            "mongodb://user:case@%2Ftmp%2Fmongodb.sock",
            "mongodb://",
        ),
        *(
            f"mongodb://user@127.0.0.1:{port}",
            f"http://127.0.0.1:{port}",
            file,
            "",
            f"mongodb://user:case@127.0.0.1:{port}/a/b",
        ),
    ):
        yield place | {"uri": uri}


def _neo4j(port: int, file: str) -> Iterator[dict[str, Any]]:
    good = {"uri": f"bolt://127.0.0.1:{port}", "user": "user", "password": "case", "database": "db", "tls": "disabled"}
    for host in (*HOSTS, *_MALFORMED_HOSTS):
        for scheme in ("bolt", "neo4j"):
            yield good | {"uri": f"{scheme}://{host}:{port}"}
        yield good | {"uri": f"bolt+s://{host}:{port}", "tls": "verify"}
    for scheme in (
        "bolt+ssc",
        "neo4j+ssc",
        "http",
        "https",
        "bolt+routing",
        "file",
        "BOLT+S",
        "neo4j+x",
        "",
        "ws",
        "gopher",
    ):
        yield good | {"uri": f"{scheme}://127.0.0.1:{port}"}
    for uri in (
        *(
            f"bolt://user:case@127.0.0.1:{port}",
            f"bolt://127.0.0.1:{port}/db",
            f"bolt://127.0.0.1:{port}?region=x",
            file,
        ),
        *(
            f"bolt://127.0.0.1:{port}#x",
            f"neo4j://127.0.0.1:{port}?policy=x",
            f"bolt://127.0.0.1:{port},127.0.0.2:{port}",
        ),
        *(
            "bolt://127.0.0.1:0",
            "bolt://127.0.0.1:65536",
            "bolt://",
            "bolt:127.0.0.1",
            "",
            "//127.0.0.1",
            f"bolt://@127.0.0.1:{port}",
        ),
    ):
        yield good | {"uri": uri}
    for option in (
        "trusted_certificates",
        "ssl_context",
        "resolver",
        "encrypted",
        "auth",
        "user_agent",
        "routing_context",
    ):
        yield good | {option: file}
