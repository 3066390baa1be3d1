"""The same file in the runtimes and compilers that apps really use, on the same samples.

``clients``    which there are: folders with a manifest, like converters
``samples``    what goes in: each tensor as the file stores it, so that every client gets the same
``asking``     one client's answer, whatever becomes of its process
``judging``    how far an answer is from LiteRT's
``rows``       what is said about one client and one file
``run``        all of it, for one file; answers are kept by the digests of what they came from
"""

from edgekit.callable_module import make_callable

make_callable(__name__)
