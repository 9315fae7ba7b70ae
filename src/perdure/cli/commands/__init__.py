"""One module per group of commands; each has an `app` that `perdure.cli.main` looks into."""
