"""How far a connection is protected by TLS."""

from typing import Literal

# What the configuration demands; a server cannot weaken it. `verified`: encrypted, and the host's certificate is
# checked. `encrypted`: a man in the middle is possible. `none`: in clear; the password as the protocol sends it.
Tls = Literal["verified", "encrypted", "none"]
