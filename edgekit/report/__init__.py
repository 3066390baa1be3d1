"""Reports: what a run found, in forms for people and for programs."""
