"""The shared library: where it is, its functions' types, its errors, the engine."""
from __future__ import annotations

import ctypes
import os
import threading
import weakref
from ctypes import POINTER, Structure, byref, c_char_p, c_double, c_int, c_int32, c_int64
from ctypes import c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any, Optional

MAX_RANK = 8


class Shape(Structure):
    _fields_ = [("rank", c_int32), ("dim", c_int64 * MAX_RANK)]


class View(Structure):
    _fields_ = [("data", c_void_p), ("dtype", c_int), ("device", c_int), ("shape", Shape),
                ("row_stride", c_int64)]


class EngineOptions(Structure):
    _fields_ = [("size", c_uint32), ("threads", c_int32), ("isa", c_char_p),
                ("libraries", c_int32), ("primitives", c_int32), ("log", c_void_p),
                ("log_ctx", c_void_p), ("parallel", c_void_p), ("parallel_ctx", c_void_p)]


class OptionRow(Structure):
    _fields_ = [("name", c_char_p), ("type", c_int), ("default", c_char_p), ("lo", c_double),
                ("hi", c_double), ("choices", c_char_p), ("help", c_char_p), ("offset", c_size_t)]


class Component(Structure):
    _fields_ = [("abi", c_uint32), ("size", c_uint32), ("kind", c_int), ("name", c_char_p),
                ("summary", c_char_p), ("slug", c_char_p), ("options", POINTER(OptionRow)),
                ("options_size", c_size_t), ("needs", c_uint32), ("provides", c_uint32),
                ("functions", c_void_p)]


class FitData(Structure):
    _fields_ = [("size", c_uint32), ("x", View), ("label", c_void_p), ("classes", c_int64),
                ("target", POINTER(View)), ("held_out", POINTER(View)), ("progress", c_void_p),
                ("progress_ctx", c_void_p)]


class FitReport(Structure):
    """The first fields of mica_fit_report, as its size says."""

    _fields_ = [("size", c_uint32), ("rows", c_int64), ("iterations", c_int64),
                ("converged", c_int32)]


class Prediction(Structure):
    _fields_ = [("size", c_uint32), ("label", c_void_p), ("score", c_void_p),
                ("probability", c_void_p), ("anomaly", c_void_p)]


class EstimatorFunctions(Structure):
    _fields_ = [("size", c_uint32), ("abilities", c_uint32)]


class RawAnswer(Structure):
    _fields_ = [("label", c_int64), ("name", c_char_p), ("probability", c_double),
                ("anomaly", c_double)]


class RawReason(Structure):
    _fields_ = [("text", c_char_p), ("similarity", c_double)]


class RawReasons(Structure):
    _fields_ = [("label", c_int64), ("name", c_char_p), ("score", c_double), ("n", c_int64),
                ("reason", POINTER(RawReason)), ("texts", c_void_p)]


class Problem(Structure):
    _fields_ = [("height", c_int64), ("width", c_int64), ("channels", c_int64),
                ("classes", c_int64), ("vocabulary", c_int64), ("length", c_int64),
                ("fields", c_int64), ("field_size", c_void_p)]


class MatchResult(Structure):
    _fields_ = [(name, c_double) for name in ("matching", "top1", "top5", "top10", "back_top1",
                                              "back_top5", "back_top10")]


# ---- errors ----


class MicaError(Exception):
    """What the library refused; `status` is its number (mica/base.h)."""

    status = 0


def _kind(name: str, base: type) -> type:
    return type(name, (MicaError, base), {"__module__": "mica"})


_INVALID = _kind("InvalidError", ValueError)
_KINDS = {
    -1: _INVALID, -2: _INVALID, -3: _kind("OutOfMemoryError", MemoryError),
    -4: _kind("FileError", OSError), -5: _kind("FormatError", ValueError),
    -6: _kind("UnsupportedError", NotImplementedError), -7: _kind("NotFoundError", LookupError),
    -8: _kind("NumericError", ValueError), -9: _kind("StateError", RuntimeError),
    -10: _kind("CancelledError", RuntimeError),
}


def failure(status: int) -> MicaError:
    message = lib.mica_last_error().decode("utf-8", "replace")
    error = _KINDS.get(status, MicaError)(message)
    error.status = status
    return error


def check(status: int) -> None:
    if status:
        raise failure(status)


# ---- the library ----


def library_path() -> str:
    """The file that is loaded: $MICA_LIBRARY, else the wheel's own, else the system's."""
    given = os.environ.get("MICA_LIBRARY")
    own = os.path.join(os.path.dirname(os.path.abspath(__file__)), "libmica.so.0")
    return given if given else own if os.path.exists(own) else "libmica.so.0"


lib = ctypes.CDLL(library_path())

_P = c_void_p
_STATUS = {
    "mica_engine_create": [POINTER(EngineOptions), POINTER(_P)],
    "mica_estimator_create": [_P, c_char_p, POINTER(_P)],
    "mica_estimator_fit": [_P, POINTER(FitData), _P],
    "mica_estimator_update": [_P, POINTER(FitData)],
    "mica_estimator_predict": [_P, POINTER(View), POINTER(Prediction)],
    "mica_estimator_save": [_P, _P],
    "mica_estimator_load": [_P, _P, POINTER(_P)],
    "mica_estimator_targets": [_P, POINTER(View), _P],
    "mica_estimator_pair_scores": [_P, POINTER(View), POINTER(View), _P],
    "mica_match_evaluate": [c_int64, _P, _P, _P, POINTER(MatchResult)],
    "mica_record_create": [POINTER(_P)],
    "mica_record_put": [_P, c_char_p, _P],
    "mica_record_set_json": [_P, c_char_p],
    "mica_tensor_from_view": [POINTER(View), c_int, POINTER(_P)],
    "mica_archive_open": [c_char_p, POINTER(_P)],
    "mica_archive_read": [_P, c_int64, POINTER(_P)],
    "mica_model_open": [_P, c_char_p, POINTER(_P)],
    "mica_model_open_memory": [_P, c_char_p, c_size_t, c_char_p, POINTER(_P)],
    "mica_model_save": [_P, c_char_p],
    "mica_model_read": [_P, c_int64, POINTER(c_char_p), POINTER(_P)],
    "mica_head_add_class": [_P, c_char_p, POINTER(View)],
    "mica_head_set_rejection": [_P, c_double],
    "mica_head_describe": [_P, c_char_p, c_int64, POINTER(c_char_p)],
    "mica_model_zero_shot": [_P, c_char_p, c_char_p, _P],
    "mica_phrases_parse": [c_char_p, c_size_t, POINTER(_P)],
    "mica_session_create": [_P, POINTER(_P)],
    "mica_predict": [_P, POINTER(View), POINTER(RawAnswer)],
    "mica_predict_probabilities": [_P, POINTER(View), c_int64, _P],
    "mica_predict_scores": [_P, POINTER(View), c_int64, _P],
    "mica_predict_reasons": [_P, POINTER(View), c_int64, POINTER(RawReasons)],
    "mica_anomaly_score": [_P, POINTER(View), _P],
    "mica_embed": [_P, POINTER(View), _P],
    "mica_embed_texts": [_P, c_int64, POINTER(c_char_p), _P],
}
_OTHERS = {
    "mica_version": (c_char_p, []),
    "mica_last_error": (c_char_p, []),
    "mica_engine_free": (None, [_P]),
    "mica_engine_threads": (c_int, [_P]),
    "mica_engine_isa": (c_char_p, [_P]),
    "mica_kind_name": (c_char_p, [c_int]),
    "mica_component_at": (POINTER(Component), [_P, c_int, c_int]),
    "mica_estimator_free": (None, [_P]),
    "mica_estimator_outputs": (c_int64, [_P]),
    "mica_estimator_classes": (c_int64, [_P]),
    "mica_record_free": (None, [_P]),
    "mica_record_count": (c_int64, [_P]),
    "mica_record_at": (_P, [_P, c_int64, POINTER(c_char_p)]),
    "mica_record_json": (c_char_p, [_P]),
    "mica_tensor_free": (None, [_P]),
    "mica_tensor_data": (_P, [_P]),
    "mica_tensor_dtype": (c_int, [_P]),
    "mica_tensor_shape": (POINTER(Shape), [_P]),
    "mica_tensor_view": (View, [_P]),
    "mica_archive_close": (None, [_P]),
    "mica_archive_count": (c_int64, [_P]),
    "mica_archive_name": (c_char_p, [_P, c_int64]),
    "mica_model_free": (None, [_P]),
    "mica_model_net": (_P, [_P]),
    "mica_model_classes": (c_int64, [_P]),
    "mica_model_class": (c_char_p, [_P, c_int64]),
    "mica_model_training": (c_char_p, [_P]),
    "mica_model_features": (c_int64, [_P]),
    "mica_net_problem": (POINTER(Problem), [_P]),
    "mica_phrases_free": (None, [_P]),
    "mica_reasons_free": (None, [POINTER(RawReasons)]),
    "mica_session_free": (None, [_P]),
    "mica_session_take_features": (None, [_P, ctypes.c_bool]),
    "mica_session_take_pictures": (None, [_P, ctypes.c_bool]),
}
for _name, _arguments in _STATUS.items():
    _function = getattr(lib, _name)
    _function.restype, _function.argtypes = c_int, _arguments
for _name, (_result, _arguments) in _OTHERS.items():
    _function = getattr(lib, _name)
    _function.restype, _function.argtypes = _result, _arguments


def version() -> str:
    """The version of the library that is loaded."""
    return lib.mica_version().decode()


def created(function: Any, *arguments: Any) -> c_void_p:
    """What a function of the library makes in its last argument."""
    out = c_void_p()
    check(function(*arguments, byref(out)))
    return out


# ---- the engine ----


class Engine:
    """Threads and caches that everything is made with. Objects keep their engine alive."""

    def __init__(self, threads: int = 0, isa: Optional[str] = None, libraries: bool = True):
        options = EngineOptions(ctypes.sizeof(EngineOptions), threads,
                                isa.encode() if isa else None, int(libraries), 256)
        self.pointer = created(lib.mica_engine_create, byref(options))
        self._end = weakref.finalize(self, lib.mica_engine_free, self.pointer)

    @property
    def threads(self) -> int:
        return lib.mica_engine_threads(self.pointer)

    @property
    def isa(self) -> str:
        return lib.mica_engine_isa(self.pointer).decode()

    def __repr__(self) -> str:
        return f"Engine(threads={self.threads}, isa={self.isa!r})"


_default: Optional[Engine] = None
_lock = threading.Lock()


def engine() -> Engine:
    """The engine that is used where none is given: one a process, made when it is first asked for."""
    global _default
    with _lock:
        if _default is None:
            _default = Engine()
        return _default
