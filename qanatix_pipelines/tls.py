"""How far a connection is protected by TLS."""

from typing import Literal

# What its configuration demands, so that no server can make it less. `verified`: encrypted, and surely with the host
# that is named. `encrypted`: perhaps with somebody in between. `none`: in clear, the password as the protocol sends it.
Tls = Literal["verified", "encrypted", "none"]
