"""The architectures of `benchmarks/zoo.py`: factories with random weights, by family."""
