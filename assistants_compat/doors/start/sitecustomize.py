"""Calls `install` at the start of every Python whose PYTHONPATH holds this directory, as `run` sets it.

It removes its directory from `sys.path`, runs the `sitecustomize` that it hides, and calls `install`. If that fails,
Python prints one line and starts the program anyway.
"""

import os
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec


def _remove_this_directory() -> None:
    here = os.path.realpath(os.path.dirname(__file__))  # noqa: PTH120 - pathlib is slow to import at every start
    sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry) != here]


def _run_hidden_sitecustomize() -> None:
    """Run the user's own `sitecustomize`, which this one hides, under its own name."""
    spec = PathFinder.find_spec(__name__, sys.path)
    if spec is not None and spec.loader is not None:
        module = module_from_spec(spec)
        sys.modules[__name__] = module
        spec.loader.exec_module(module)


def _install() -> None:
    try:
        from assistants_compat import install  # noqa: PLC0415 - it may be missing in this environment
    except ImportError as error:
        if error.name != "assistants_compat":
            raise
        return  # a child in another environment, without this package
    install()


_remove_this_directory()
try:
    _run_hidden_sitecustomize()
finally:
    _install()
