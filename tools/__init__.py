"""What `make check` and `make test` run; not part of what is installed."""
