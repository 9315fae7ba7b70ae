"""The adapters of the ports `Journal` and `Catalog`: `memory`, the oracle, and `sqlite`, the default.

This package is the only one of the engine that speaks SQL. The modules of the SQLite adapter, from the outside in:

    sqlite      the adapter: opens and closes, hands commits to the writer and questions to the readers
    writer      the one thread that writes: group commit, checkpoints, what a failing disk means
    batch       one group of commits as rows: conflicts are found before anything is written
    heads       what the writer knows of each execution's row
    statements  the statements of the write path, each over many rows
    reader      read-only connections in a small pool; the questions
    catalog     plans and deployments
    audit       reads everything and says what is wrong
    rows        the rows of executions and approvals, with their checksums
    payloads    an event as a row: large bodies apart, in content-addressed blobs; the chain of checksums
    schema      tables, migrations as data, the settings of a connection
    ownership   one server for one data directory
    failures    the driver's errors in our words
"""
