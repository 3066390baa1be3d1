"""Where files come from: ``edgekit.lock``, and whether what is there is still what it says.

``lock``     the words: `Lock` and what hangs on it
``text``     a lock as text and back, believing nothing unchecked
``toml``     plain values as TOML
``inputs``   the files that a conversion read: recorded, found again, compared
``code``     which local Python files a model's code consists of, by reading and not by running it
``kernels``  which kernels of the machine had a part, and the same ones for a replay
``verify``   files from elsewhere held against a lock

A lock has no signature: it tells a change or a mix-up, not a forger who changes both.
"""
