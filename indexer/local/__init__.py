"""Running the services as processes of this machine, for `batch process`."""
