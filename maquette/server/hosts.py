"""Who may be spoken to, and from where: the Host and Origin of a request, and the addresses that may be listened at.

A page in a browser can send requests to any address, and by a name of its own that resolves to 127.0.0.1 it can even
read the answers (DNS rebinding). So the Host must be one that is known here, by an allow rule on every method, and an
Origin must be that very host.
"""

import ipaddress
import re
from collections.abc import Sequence

from maquette.core.errors import MaquetteError

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]{2,45}\]|[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)(:(?P<port>[0-9]{1,5}))?")
_SITES = frozenset({"same-origin", "none"})


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what is listened at."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def may_listen(host: str, names: Sequence[str], keys: bool) -> None:
    """Raises MQ-8010 for an address or a name by which others reach the server, unless keys are needed."""
    for one in () if keys else (host, *names):
        match = _HOST.fullmatch(one.lower())
        if not is_loopback(match["name"] if match else one):
            raise MaquetteError("MQ-8010", "host", host=one)


def check_host(said: Sequence[str], names: Sequence[str], address: str) -> str:
    """The Host header, which must be given once: a loopback name, one of `names`, or the `address` that was reached.

    A loopback name may have any port, since a tunnel changes it; a name of the operator's must be as it was given.

    Raises:
        MaquetteError: MQ-2209.
    """
    host = said[0] if len(said) == 1 else ""
    match = _HOST.fullmatch(host.lower())
    if match is None:
        raise MaquetteError("MQ-2209", header="Host")
    name = match["name"]
    reached = f"[{address}]" if ":" in address else address
    if name in LOOPBACK or name == reached or host.lower() in {known.lower() for known in names}:
        return host.lower()
    raise MaquetteError("MQ-2209", header="Host")


def check_origin(origins: Sequence[str], site: str | None, host: str) -> None:
    """An Origin, where a browser says one, must be `host` itself; raises MQ-2209.

    Args:
        site: the header Sec-Fetch-Site.
    """
    if origins and (len(origins) > 1 or origins[0].lower() not in (f"http://{host}", f"https://{host}")):
        raise MaquetteError("MQ-2209", header="Origin")
    if site is not None and site not in _SITES:
        raise MaquetteError("MQ-2209", header="Sec-Fetch-Site")
