"""The wire: request and response bodies and the event stream, as types. The source of `openapi.json`.

Wire types are apart from the domain's: the domain may change, a released field here may not. All bodies are
JSON objects; times are milliseconds since the epoch (`_ms`); unknown fields in requests are refused.
"""

API_PREFIX = "/api/v1"
WIRE_VERSION = 1
DEFAULT_PORT = 6767
