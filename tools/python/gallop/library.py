"""libgallop as ctypes sees it: structures, functions, and where the library is. The names are those of `gallop.h`."""

import ctypes
import ctypes.util
import os
from ctypes import POINTER, c_char_p, c_double, c_float, c_int, c_int32, c_int64, c_size_t, c_uint8, c_uint32, c_void_p
from pathlib import Path

ABI_VERSION = 1


class JobState(ctypes.Structure):
    _fields_ = [
        ("status", c_int32),
        ("stage", c_int32),
        ("step", c_int32),
        ("steps", c_int32),
        ("progress", c_int32),
    ]


ProgressFunction = ctypes.CFUNCTYPE(c_int, POINTER(JobState), c_void_p)
LogFunction = ctypes.CFUNCTYPE(None, c_int, c_char_p, c_void_p)


class Request(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("prompt", c_char_p),
        ("width", c_int32),
        ("height", c_int32),
        ("seconds", c_double),
        ("seed", c_int64),
        ("steps", c_int32),
        ("audio_rate", c_int32),
        ("image_path", c_char_p),
        ("image_rgb", c_void_p),
        ("image_width", c_int32),
        ("image_height", c_int32),
        ("audio_path", c_char_p),
        ("audio_samples", c_void_p),
        ("audio_frames", c_size_t),
        ("audio_channels", c_int32),
        ("progress", ProgressFunction),
        ("user", c_void_p),
        ("extra_json", c_char_p),
    ]


class Frames(ctypes.Structure):
    _fields_ = [
        ("rgb", POINTER(c_uint8)),
        ("count", c_size_t),
        ("width", c_int32),
        ("height", c_int32),
        ("fps", c_double),
    ]


class Audio(ctypes.Structure):
    _fields_ = [
        ("samples", POINTER(c_float)),
        ("count", c_size_t),
        ("rate", c_int32),
        ("channels", c_int32),
    ]


FUNCTIONS = {
    "gallop_abi_version": (c_uint32, []),
    "gallop_version": (c_char_p, []),
    "gallop_engine_open": (c_int32, [c_char_p, c_char_p, POINTER(c_void_p)]),
    "gallop_engine_close": (None, [c_void_p]),
    "gallop_engine_info_json": (c_int32, [c_void_p, c_char_p, POINTER(c_size_t)]),
    "gallop_request_init": (None, [POINTER(Request), c_size_t]),
    "gallop_plan_json": (c_int32, [c_void_p, POINTER(Request), c_char_p, POINTER(c_size_t)]),
    "gallop_submit": (c_int32, [c_void_p, POINTER(Request), POINTER(c_void_p)]),
    "gallop_job_wait": (c_int32, [c_void_p, c_int64]),
    "gallop_job_state": (c_int32, [c_void_p, POINTER(JobState)]),
    "gallop_job_cancel": (None, [c_void_p]),
    "gallop_job_mp4": (c_int32, [c_void_p, POINTER(POINTER(c_uint8)), POINTER(c_size_t)]),
    "gallop_job_frames": (c_int32, [c_void_p, POINTER(Frames)]),
    "gallop_job_audio": (c_int32, [c_void_p, POINTER(Audio)]),
    "gallop_job_report_json": (c_int32, [c_void_p, c_char_p, POINTER(c_size_t)]),
    "gallop_job_free": (None, [c_void_p]),
    "gallop_last_error": (c_int32, [c_char_p, POINTER(c_size_t)]),
    "gallop_set_log": (None, [LogFunction, c_void_p]),
}


def _path() -> str:
    """GALLOP_LIBRARY, else the library in the wheel, else that of a build around this file, else the system's."""
    named = os.environ.get("GALLOP_LIBRARY")
    if named:
        return named
    here = Path(__file__).resolve()
    beside = [here.with_name("libgallop.so")]
    if len(here.parents) > 3:
        beside.append(here.parents[3] / "target" / "release" / "libgallop.so")
    for path in beside:
        if path.is_file():
            return str(path)
    found = ctypes.util.find_library("gallop")
    if found:
        return found
    raise ImportError("there is no libgallop.so: build it with `cargo build --release`, or set GALLOP_LIBRARY to its path")


def load() -> ctypes.CDLL:
    """Opens the library and declares its functions."""
    path = _path()
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        raise ImportError(f"libgallop cannot be opened: {error}") from error
    for name, (result, arguments) in FUNCTIONS.items():
        function = getattr(library, name, None)
        if function is None:
            raise ImportError(f"{path} has no {name}: it is another library, or an older one")
        function.restype, function.argtypes = result, arguments
    found = library.gallop_abi_version()
    if found != ABI_VERSION:
        raise ImportError(f"{path} has version {found} of the interface; expected {ABI_VERSION}")
    return library
