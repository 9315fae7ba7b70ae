"""HTTP to one server: the port (`messages`) and the network's adapter (`network`)."""

from perdure.client.transport.messages import ConnectionLostError, Reply, StreamReply, Transport
from perdure.client.transport.network import HttpTransport

__all__ = ["ConnectionLostError", "HttpTransport", "Reply", "StreamReply", "Transport"]
