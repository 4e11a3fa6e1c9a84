"""The client's settings by name. Both programs read one .env, so the server must know which names in it are not its
own; the values are none of the server's business.
"""

from __future__ import annotations

NARRATE_SERVER = "NARRATE_SERVER"

NARRATE_KEY = "NARRATE_KEY"

NARRATE_OUTPUT = "NARRATE_OUTPUT"

CLIENT_NAMES = (NARRATE_SERVER, NARRATE_KEY, NARRATE_OUTPUT)
