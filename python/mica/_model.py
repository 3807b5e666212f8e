"""Model files and sessions."""
from __future__ import annotations

import json
import os
import threading
import weakref
from ctypes import byref, c_char_p, c_void_p
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Union

import numpy as np

from ._library import Engine, RawAnswer, RawReasons, View, check, created, lib
from ._library import engine as default_engine
from ._tensor import Tensor, as_array, lent, view_of

Path = Union[str, "os.PathLike[str]"]
Examples = Any  # arrays, or paths of pictures


class Answer(NamedTuple):
    """The class of one example; label -1 and "none of these" where the model refuses."""

    label: int
    name: str
    probability: float
    anomaly: float


class Reason(NamedTuple):
    """A class that a picture was compared with, and its phrases with their similarities."""

    label: int
    name: str
    score: float
    phrases: List[tuple]


def _texts(texts: Iterable[str]) -> Any:
    encoded = [t.encode() for t in texts]
    return (c_char_p * max(1, len(encoded)))(*encoded)


class _Owner:
    """What a model and its sessions hold together: the library's model, which goes after them all."""

    def __init__(self, pointer: c_void_p, engine: Engine):
        self.pointer = pointer
        weakref.finalize(self, _free_model, pointer, engine)


def _free_model(pointer: c_void_p, engine: Engine) -> None:
    lib.mica_model_free(pointer)


def _free_session(pointer: c_void_p, owner: _Owner) -> None:
    lib.mica_session_free(pointer)


def _read(pointer: c_void_p, paths: Sequence[Path]) -> Tensor:
    names = (c_char_p * max(1, len(paths)))(*[os.fsencode(p) for p in paths])
    return Tensor(created(lib.mica_model_read, pointer, len(paths), names))


class Model:
    """A model of a file, which threads may share; made by mica.open."""

    def __init__(self, pointer: c_void_p, engine: Engine):
        self._owner = _Owner(pointer, engine)
        self.pointer = pointer
        self.engine = engine
        self._local = threading.local()

    def __enter__(self) -> "Model":
        return self

    def __exit__(self, *_: Any) -> None:
        self._local = threading.local()

    def session(self) -> "Session":
        """A session of one thread, with its own memory. The methods below use one a thread."""
        return Session(self)

    def _mine(self) -> "Session":
        if not hasattr(self._local, "session"):
            self._local.session = Session(self)
        return self._local.session

    @property
    def classes(self) -> List[str]:
        n = lib.mica_model_classes(self.pointer)
        return [lib.mica_model_class(self.pointer, i).decode() for i in range(n)]

    @property
    def features(self) -> int:
        """The width of what `embed` gives."""
        return lib.mica_model_features(self.pointer)

    @property
    def training(self) -> Optional[Dict[str, Any]]:
        """The record of the training, where the file has one."""
        text = lib.mica_model_training(self.pointer)
        return json.loads(text) if text else None

    def read(self, paths: Sequence[Path]) -> Tensor:
        """Picture files as the model reads them, uint8 [n, height, width, channels]."""
        return _read(self.pointer, paths)

    def predict(self, examples: Examples) -> List[Answer]:
        """An answer for each example: picture files, or an array as the model reads it."""
        return self._mine().predict(examples)

    def probabilities(self, examples: Examples) -> np.ndarray:
        return self._mine().probabilities(examples)

    def anomaly(self, examples: Examples) -> np.ndarray:
        return self._mine().anomaly(examples)

    def embed(self, examples: Examples) -> np.ndarray:
        return self._mine().embed(examples)

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        return self._mine().embed_texts(texts)

    def reasons(self, examples: Examples, classes: int = 1) -> List[List[Reason]]:
        return self._mine().reasons(examples, classes)

    def add_class(self, name: str, examples: Examples) -> None:
        """Teach the answering head a class; other threads may predict meanwhile."""
        array = self._mine().array(examples)
        view = view_of(array)
        check(lib.mica_head_add_class(self.pointer, name.encode(), byref(view)))

    def set_rejection(self, rate: float) -> None:
        """The share of known examples that may be answered "none of these"."""
        check(lib.mica_head_set_rejection(self.pointer, rate))

    def zero_shot(self, phrases: Dict[str, Sequence[str]], spec: str = "zero_shot",
                  head: str = "zero_shot") -> None:
        """A head of classes that are known by phrases, which then answers."""
        text = json.dumps(phrases).encode()
        given = created(lib.mica_phrases_parse, text, len(text))
        try:
            check(lib.mica_model_zero_shot(self.pointer, head.encode(), spec.encode(), given))
        finally:
            lib.mica_phrases_free(given)

    def describe(self, name: str, phrases: Sequence[str]) -> None:
        """Give a class of a zero_shot head these phrases, or add a class."""
        check(lib.mica_head_describe(self.pointer, name.encode(), len(phrases), _texts(phrases)))

    def save(self, path: Path) -> None:
        """Write the model with its heads: the old file or the new one is there, never half."""
        check(lib.mica_model_save(self.pointer, os.fsencode(path)))


class Session:
    """A model's work for one thread at a time."""

    def __init__(self, model: Model):
        self.pointer = created(lib.mica_session_create, model.pointer)
        self._model = model.pointer
        self._features = False
        problem = lib.mica_net_problem(lib.mica_model_net(model.pointer)).contents
        self._width = model.features
        self._dtype = np.uint8 if problem.height else np.float32 if problem.channels else np.int64
        lib.mica_session_take_pictures(self.pointer, True)
        weakref.finalize(self, _free_session, self.pointer, model._owner)

    def take_features(self, features: bool = True) -> None:
        """From now on examples are features, which go to the head at once."""
        self._features = features
        lib.mica_session_take_features(self.pointer, features)

    def array(self, examples: Examples) -> np.ndarray:
        """Examples as the library reads them: paths are read, arrays are lent."""
        if isinstance(examples, (str, os.PathLike)):
            examples = [examples]
        if isinstance(examples, (list, tuple)) and examples and isinstance(
                examples[0], (str, os.PathLike)):
            return _read(self._model, examples).numpy()
        dtype = np.float32 if self._features else self._dtype
        return np.ascontiguousarray(as_array(examples), dtype=dtype)

    def _view(self, examples: Examples) -> tuple:
        array = self.array(examples)
        return array, view_of(array), len(array)

    def predict(self, examples: Examples) -> List[Answer]:
        array, view, n = self._view(examples)
        out = (RawAnswer * max(1, n))()
        check(lib.mica_predict(self.pointer, byref(view), out))
        return [Answer(a.label, a.name.decode(), a.probability, a.anomaly) for a in out[:n]]

    def _filled(self, function: Any, examples: Examples, *width: int) -> np.ndarray:
        array, view, n = self._view(examples)
        out = np.empty((n, *width), np.float64)
        check(function(self.pointer, byref(view), *width, out.ctypes.data))
        return out

    def probabilities(self, examples: Examples) -> np.ndarray:
        """float64 [n, classes]; rows sum to 1."""
        return self._filled(lib.mica_predict_probabilities, examples,
                            lib.mica_model_classes(self._model))

    def scores(self, examples: Examples, columns: int) -> np.ndarray:
        """The answering head's raw scores, the first `columns` of them."""
        return self._filled(lib.mica_predict_scores, examples, columns)

    def anomaly(self, examples: Examples) -> np.ndarray:
        """float64 [n]: larger is less like what the model was fitted on."""
        return self._filled(lib.mica_anomaly_score, examples)

    def embed(self, examples: Examples) -> np.ndarray:
        """float32 [n, features]."""
        array, view, n = self._view(examples)
        out = np.empty((n, self._width), np.float32)
        check(lib.mica_embed(self.pointer, byref(view), out.ctypes.data))
        return out

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [n, features] of length 1, of a model with a text tower."""
        out = np.empty((len(texts), self._width), np.float32)
        check(lib.mica_embed_texts(self.pointer, len(texts), _texts(texts), out.ctypes.data))
        return out

    def reasons(self, examples: Examples, classes: int = 1) -> List[List[Reason]]:
        """For each picture its best classes, and the phrases of each that speak for it."""
        array, view, n = self._view(examples)
        raw = (RawReasons * max(1, n * classes))()
        check(lib.mica_predict_reasons(self.pointer, byref(view), classes, raw))
        try:
            return [[Reason(r.label, r.name.decode(), r.score,
                            [(r.reason[j].text.decode(), r.reason[j].similarity)
                             for j in range(r.n)])
                     for r in raw[i * classes:(i + 1) * classes]] for i in range(n)]
        finally:
            for i in range(n * classes):
                lib.mica_reasons_free(byref(raw[i]))


def open(source: Union[Path, bytes], engine: Optional[Engine] = None) -> Model:
    """The model of a file, or of a file's bytes."""
    e = engine or default_engine()
    if isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
        return Model(created(lib.mica_model_open_memory, e.pointer, data, len(data), b"bytes"), e)
    return Model(created(lib.mica_model_open, e.pointer, os.fsencode(source)), e)


__all__ = ["Answer", "Model", "Reason", "Session", "View", "open"]
