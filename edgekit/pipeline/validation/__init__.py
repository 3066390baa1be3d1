"""``edgekit validate``: candidates against a reference, on the user's own data.

``request``    what was asked for
``contracts``  one contract for all: what goes in, what the outputs mean
``data``       the samples with their labels, in a fixed order
``engine``     measures chunks of samples: decode once, run every candidate, keep rows
``worker``     the engine as a process
``store``      rows and reference outputs on the disk
``stream``     feeds chunks to processes, survives crashes and Ctrl-C
``timing``     latency, memory, operators
``run``        all of it in order
"""
