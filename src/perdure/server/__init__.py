"""The server: REST and the event stream over HTTP, keys, metrics. Holds no durable state of its own."""
