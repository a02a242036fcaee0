"""Observers of a run, each of which writes one kind of file, and ``LengthCurriculum``, which changes the training.

Each name is imported at its first use (PEP 562); ``__init__.pyi`` lists them. ``callbacks.contracts`` says what a
callback may implement.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
