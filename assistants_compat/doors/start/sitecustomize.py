"""Every Python runs this as it starts, where `assistants_compat run` has put this directory into PYTHONPATH.

It takes itself out of the way, lets the `sitecustomize` come in that it hides, and calls `install`.  What goes wrong
here Python says in a line, and starts the program.
"""

import os
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec


def _without_this_directory() -> None:
    here = os.path.realpath(os.path.dirname(__file__))  # noqa: PTH120 - pathlib is slow to import, and this is every start
    sys.path[:] = [place for place in sys.path if os.path.realpath(place) != here]


def _hidden() -> None:
    """Run the `sitecustomize` that this one stands before, under its own name."""
    spec = PathFinder.find_spec(__name__, sys.path)
    if spec is not None and spec.loader is not None:
        module = module_from_spec(spec)
        sys.modules[__name__] = module
        spec.loader.exec_module(module)


def _install() -> None:
    try:
        from assistants_compat import install  # noqa: PLC0415 - as late as that
    except ImportError as error:
        if error.name != "assistants_compat":
            raise
        return  # a child with another environment, which cannot have calls of ours
    install()


_without_this_directory()
try:
    _hidden()
finally:
    _install()
