"""From a request to files with a verdict: `plan` decides and touches nothing, `run` does it."""
