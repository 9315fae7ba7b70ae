"""The client: run, start, stream and approve, over HTTP or in process, with a thin synchronous façade.

From the bottom up: `transport` (HTTP messages), `calls` (retries and errors), `api` (one method per route),
`connection` (one event loop's API client and worker), `session` (which server, which loops), and what users
hold: `runtime`, `handle`, `stream`, `functions`.
"""
