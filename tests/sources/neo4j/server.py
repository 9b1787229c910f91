"""Neo4j: QANATIX_TEST_NEO4J_URI, else Neo4j Community of our own, its jars fetched once by Maven.

The variable holds `bolt://user:password@host:port/database`, which is how these tests write a server's address.
"""

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

import neo4j

from tests.certificates import self_signed
from tests.servers import Server, ServerMissing, free_port, keeper, kept, new_folder, new_password, remove, run

VARIABLE = "QANATIX_TEST_NEO4J_URI"
START_SECONDS = 120

_POM = Path(__file__).with_name("pom.xml")
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"

# TLS is optional, so that one server serves tests with and without it.
_CONFIGURATION = """
server.bolt.enabled=true
server.bolt.listen_address=127.0.0.1:{port}
server.bolt.advertised_address=127.0.0.1:{port}
server.bolt.tls_level=OPTIONAL
dbms.ssl.policy.bolt.enabled=true
dbms.ssl.policy.bolt.base_directory={folder}/tls
dbms.ssl.policy.bolt.client_auth=NONE
server.http.enabled=false
server.https.enabled=false
dbms.security.auth_enabled=true
server.memory.pagecache.size=64m
dbms.usage_report.enabled=false
"""
_OPENED = ("java.base/java.nio", "java.base/java.io", "java.base/sun.nio.ch", "java.base/java.util.concurrent")


def fetched() -> Path:
    """The server's jars, one folder for each state of the pom.

    Raises ServerMissing.
    """

    def fetch(jars: Path) -> None:
        maven = shutil.which("mvn")
        if maven is None:
            raise ServerMissing(f"Neo4j is fetched by Maven, and there is no `mvn`. {VARIABLE} may name a server.")
        repository = jars.with_name(f"{jars.name}.repository")
        try:
            options = [f"-Dmaven.repo.local={repository}", f"-DoutputDirectory={jars}"]
            run([maven, "-B", "-q", "-f", _POM, _COPY, "-DincludeScope=runtime", *options], {})
        finally:
            remove(repository)

    return kept(f"neo4j-{hashlib.sha256(_POM.read_bytes()).hexdigest()[:12]}", fetch)


def start(settings: Mapping[str, str] = MappingProxyType({})) -> Server:
    """A server with an empty database. `settings` are for a server of our own. Raises ServerMissing."""
    given = os.environ.get(VARIABLE)
    if given:
        return Server("neo4j", _version(given), given)
    java = shutil.which("java")
    if java is None:
        raise ServerMissing(f"Neo4j needs Java 17 or 21, and there is no `java`. {VARIABLE} may name a server.")
    jars = fetched()
    folder = new_folder("neo4j", {})
    try:
        return _start(java, jars, folder, settings)
    except BaseException:
        remove(folder)
        raise


def driver(address: str, **options: object) -> neo4j.Driver:
    """A driver for a server's address."""
    parts = urlsplit(address)
    return neo4j.GraphDatabase.driver(
        f"{parts.scheme}://{parts.hostname}:{parts.port}", auth=(parts.username or "", parts.password or ""), **options
    )


def _start(java: str, jars: Path, folder: Path, settings: Mapping[str, str]) -> Server:
    password, port = new_password(), free_port()
    (folder / "conf").mkdir()
    lines = "".join(f"{name}={value}\n" for name, value in settings.items())
    (folder / "conf" / "neo4j.conf").write_text(_CONFIGURATION.format(port=port, folder=folder) + lines)
    (folder / "tls").mkdir(mode=0o700)
    self_signed(folder / "tls")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(java, "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.disable.jmx=true"),
                *(f"--add-opens={package}=ALL-UNNAMED" for package in _OPENED),
                *("-cp", f"{jars}/*", "org.neo4j.server.CommunityEntryPoint"),
                *(f"--home-dir={folder}", f"--config-dir={folder / 'conf'}", "--console-mode"),
            ],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # an interrupt from the keyboard reaches the tests only, and they stop it
        )
    keeper.keep(str(folder), process.pid, folder)

    def stop() -> None:
        process.kill()  # its data is thrown away
        process.wait()
        remove(folder)
        keeper.forget(str(folder))

    try:
        _set_first_password(process, f"bolt://neo4j:neo4j@127.0.0.1:{port}/system", password, folder / "log")
        address = f"bolt://neo4j:{password}@127.0.0.1:{port}/neo4j"
        return Server("neo4j", _version(address), address, stop)
    except BaseException:
        stop()
        raise


def _set_first_password(process: subprocess.Popen[bytes], address: str, password: str, log: Path) -> None:
    """As soon as the server takes a login. Until it is done, that login can do nothing else."""
    deadline = time.monotonic() + START_SECONDS
    with driver(address, max_transaction_retry_time=0) as connection:
        while True:
            try:
                connection.execute_query(
                    "ALTER CURRENT USER SET PASSWORD FROM 'neo4j' TO $password", password=password, database_="system"
                )
            except (neo4j.exceptions.DriverError, neo4j.exceptions.Neo4jError) as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"Neo4j did not start ({error}):\n{log.read_text()}") from None
                time.sleep(0.1)
            else:
                return


def _version(address: str) -> str:
    with driver(address) as connection:
        records = connection.execute_query(
            "CALL dbms.components() YIELD versions, edition RETURN versions[0] + ' ' + edition AS version",
            database_=urlsplit(address).path.strip("/"),
        ).records
    version: str = records[0]["version"]
    return version
