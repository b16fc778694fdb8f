"""Names as the DNS has them: asked at the servers that keep them, written for whoever keeps them by hand."""

from tagboat.dns.names import DnsError, Names, Server, Zone
from tagboat.dns.record import Record

__all__ = ["DnsError", "Names", "Record", "Server", "Zone"]
