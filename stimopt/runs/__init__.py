"""One way to run a fit or a search, for Python and the command line."""
