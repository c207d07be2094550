"""How a client shows who it is, and checks who the server is."""

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc


@dataclass(frozen=True)
class Access:
    """What a connection needs beside an address. The files count where it is encrypted.

    Attributes:
        headers: Sent with each request: HTTP headers, or gRPC metadata.
        ca_file: Certificates, PEM, of those who may vouch for the server; `None`: the system's.
        cert_file, key_file: The client's own certificate and its key, PEM; `key_file` may be left
            out where `cert_file` holds both.

    Raises:
        ValueError: A file cannot be read or is not PEM, or a header is malformed.
    """

    headers: Mapping[str, str] = field(default_factory=dict)
    ca_file: str | Path | None = None
    cert_file: str | Path | None = None
    key_file: str | Path | None = None

    def __post_init__(self) -> None:
        for name, value in self.headers.items():
            if not name or not (name + value).isascii() or not (name + value).isprintable():
                raise ValueError(f"A header needs a name and printable ASCII: {name!r}.")
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("A client's key is of use only with its certificate.")
        self.ssl_context()

    def ssl_context(self) -> ssl.SSLContext:
        """For TLS connections of Python's standard library."""
        context = ssl.create_default_context()
        if self.ca_file is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            _load(context.load_verify_locations, self.ca_file)
        if self.cert_file is not None:
            _load(context.load_cert_chain, self.cert_file, self.key_file, password=lambda: "")
        return context

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """For gRPC, whose own default is a list of its own, not the system's."""
        roots = _system_roots() if self.ca_file is None else Path(self.ca_file).read_bytes()
        if self.cert_file is None:
            return grpc.ssl_channel_credentials(roots)
        chain = Path(self.cert_file).read_bytes()
        key = chain if self.key_file is None else Path(self.key_file).read_bytes()
        return grpc.ssl_channel_credentials(roots, key, chain)


def _load(load: Callable[..., Any], *files: str | Path | None, **options: Any) -> None:
    try:
        load(*files, **options)
    except OSError as error:
        named = " or ".join(str(file) for file in files if file is not None)
        damaged = isinstance(error, ssl.SSLError)
        reason = "no certificate or key in PEM form" if damaged else error.strerror
        raise ValueError(f"{named} cannot be used ({reason}).") from None


def _system_roots() -> bytes | None:
    paths = ssl.get_default_verify_paths()
    if paths.cafile:
        return Path(paths.cafile).read_bytes()
    if paths.capath:
        return b"".join(file.read_bytes() for file in sorted(Path(paths.capath).glob("*.0")))
    return None
