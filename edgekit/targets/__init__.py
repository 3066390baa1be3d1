"""Targets: what a runtime and its accelerator take, and whether a file fits, without running it.

`edgekit.targets.reading` reads profiles, `edgekit.targets.check` holds a file against one.
"""
