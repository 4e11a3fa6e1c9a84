"""The client's settings: flags over the environment over .env. Opens nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from client.errors import ClientError
from server.contract.env_names import NARRATE_KEY, NARRATE_OUTPUT, NARRATE_SERVER
from server.contract.http import DEFAULT_PORT
from server.places import base_folder, find_env_file, output_folder
from server.terminal.envfile import read_env_file
from server.terminal.messages import t

DEFAULT_SERVER = f"http://127.0.0.1:{DEFAULT_PORT}"


@dataclass(frozen=True)
class ClientSettings:
    server: str
    """Address without a trailing slash."""
    key: str = field(repr=False)
    output: Path
    """Absolute."""


def load_client_settings(
    environ: Mapping[str, str], folder: Path, server: str = "", key: str = "", output: str = ""
) -> ClientSettings:
    """Raises ClientError when the server's address is none."""
    env_file = find_env_file(folder)
    in_file = read_env_file(env_file) if env_file else {}

    def setting(name: str) -> str:
        return environ.get(name, "").strip() or in_file.get(name, "")

    variable = environ.get(NARRATE_OUTPUT, "").strip()
    in_env = in_file.get(NARRATE_OUTPUT, "")
    return ClientSettings(
        server=server_address(server or setting(NARRATE_SERVER) or DEFAULT_SERVER),
        key=key or setting(NARRATE_KEY),
        output=output_folder(output, variable, in_env, folder, base_folder(env_file, folder)).resolve(),
    )


def server_address(given: str) -> str:
    """`192.168.0.2` and `http://192.168.0.2:7860/` both to `http://192.168.0.2:7860`.

    Raises ClientError when it cannot be an address.
    """
    address = given.strip()
    if "://" not in address:
        address = "http://" + address
    address = address.rstrip("/")
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ClientError(
            t(
                "The server's address {address} is not one. It looks like http://192.168.0.2:7860 "
                "(NARRATE_SERVER in .env, or --server).",
                address=given,
            )
        )
    if port is None and parts.scheme == "http":
        address = f"http://{parts.netloc}:{DEFAULT_PORT}{parts.path}"
    return address
