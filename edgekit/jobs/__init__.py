"""Running many jobs: on this machine's processes, or on a Ray cluster."""
