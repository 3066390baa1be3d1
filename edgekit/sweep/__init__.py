"""Many models, schemes, efforts, sizes and devices: which of the files is the one to ship.

``file``      the sweep file: what is crossed, shared settings, exceptions
``points``    the combinations
``planning``  the combinations as jobs, keyed by all that decides their results
``work``      what a job does
``halving``   dropping what is dominated, on few samples first
``rows``      what is known of each combination, and which of them are on the front
``result``    what a sweep came to, from its folder
``reports``   that as files: the page (``page``), tables, JSON, Markdown
``tracking``  that in MLflow
``export``    its files, copied out of it
``run``       all of it in order
"""

from edgekit.callable_module import make_callable

make_callable(__name__)
