"""What the servers' own client prints: `mariadb`, which speaks to both kinds."""

import re
import subprocess
from collections.abc import Mapping
from typing import Any

# What its batch mode writes for what would break a line or a column.
_ESCAPED = {r"\t": "\t", r"\n": "\n", r"\0": "\0", r"\\": "\\"}


class Refused(Exception):
    """The client printed an error of this number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def printed(config: Mapping[str, Any], query: str, *before: str) -> list[tuple[str | None, ...]]:
    """The rows, as text; binary strings as 0x and hex digits. `before` are statements of the same session."""
    command = ["mariadb", "--no-defaults", "--protocol=tcp", f"--host={config['host']}", f"--port={config['port']}"]
    command += [f"--user={config['user']}", f"--password={config['password']}", "--skip-ssl", "--batch"]
    command += ["--skip-column-names", "--binary-as-hex", "--default-character-set=utf8mb4", config["database"]]
    told = subprocess.run([*command, "--execute", "; ".join([*before, query])], capture_output=True, check=False)
    if told.returncode:
        raise Refused(int(re.findall(r"ERROR (\d+)", told.stderr.decode())[0]))
    return [tuple(_cell(cell) for cell in line.split("\t")) for line in told.stdout.decode().split("\n")[:-1]]


def _cell(text: str) -> str | None:
    return None if text == "NULL" else re.sub(r"\\[tn0\\]", lambda found: _ESCAPED[found[0]], text)
