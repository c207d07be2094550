"""Where a server is: `host:port`, or a URL that also tells protocol, encryption and a path."""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

# Scheme: whether it is REST, whether it is encrypted, and the port where none is given.
_SCHEMES = {
    "grpc": (False, False, 8500),
    "grpcs": (False, True, 443),
    "http": (True, False, 80),
    "https": (True, True, 443),
}


@dataclass(frozen=True)
class Address:
    """A server's place.

    Attributes:
        host: Name or IP address, an IPv6 one without brackets.
        port: 1..65535.
        rest: Whether it speaks REST, else gRPC.
        tls: Whether the connection is encrypted.
        prefix: Path in front of `/v1/models`, "" or `/like/this`.
    """

    host: str
    port: int
    rest: bool = False
    tls: bool = False
    prefix: str = ""

    @property
    def authority(self) -> str:
        """`host:port`, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether it is this machine, to which no proxy leads."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_address(server: str, rest: bool = False) -> Address:
    """Reads `host:port` or a URL of scheme grpc, grpcs, http or https.

    Args:
        server: The text.
        rest: Whether `host:port` without a scheme speaks REST.

    Raises:
        ValueError: It is neither, its port is none, or a gRPC URL has a path.
    """
    scheme, separator, _ = server.partition("://")
    if not separator:
        scheme, server = ("http" if rest else "grpc"), f"//{server}"
        if re.fullmatch(r"//[^/?#@\s]*:\d+", server) is None:
            raise _malformed(server[2:])
    if scheme not in _SCHEMES or re.search(r"[\s?#@]", server):
        raise _malformed(server)
    speaks_rest, tls, default_port = _SCHEMES[scheme]
    try:
        parts = urlsplit(server)
        port = default_port if parts.port is None else parts.port
    except ValueError:  # a port above 65535, or brackets that do not match
        raise _malformed(server.removeprefix("//")) from None
    prefix = parts.path.rstrip("/")
    if not parts.hostname or not port or (prefix and not speaks_rest):
        raise _malformed(server.removeprefix("//"))
    return Address(parts.hostname, port, speaks_rest, tls, prefix)


def _malformed(server: str) -> ValueError:
    return ValueError(
        "A server is given as host:port with a port of 1 to 65535, or as a URL such as "
        f"https://host/path or grpcs://host:port. Received: server={server!r}"
    )
