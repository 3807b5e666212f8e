"""mica: representation learning in C, from Python.

    import mica

    with mica.open("parts.mica") as model:
        model.predict(["new.jpg"])               # [Answer(label, name, probability, anomaly)]
        model.embed(pictures)                    # uint8 [n, h, w, c] to float32 [n, d]
        model.add_class("bolt", ["b1.jpg", "b2.jpg"])
        model.save("parts.mica")

    from mica.estimators import Logistic
    Logistic(C=10).fit(X, y).predict(X)

Everything is done by the library; arrays are lent to it where they lie (NumPy, or whatever speaks
DLPack) and not copied. Calls release the interpreter's lock, so threads of Python run side by side.
Errors are MicaError, and of the built-in kind that fits (ValueError, MemoryError, ...), with the
library's message.
"""
from ._library import (MicaError, Engine, engine, library_path, version)
from ._tensor import Tensor, read_archive
from ._model import Answer, Model, Reason, Session, open
from ._components import Option, components

__version__ = "0.1.0"
__all__ = ["Answer", "Engine", "MicaError", "Model", "Option", "Reason", "Session", "Tensor",
           "components", "engine", "library_path", "open", "read_archive", "version"]
