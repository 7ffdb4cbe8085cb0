"""Video with sound from a prompt, by libgallop.

    import gallop

    with gallop.Engine() as engine:
        clip = engine.generate("A red ball bounces", seconds=1, seed=7)
    clip.save("clip.mp4")

`Engine()` is the built-in miniature, `Engine("folder")` the model in a folder. `clip.frames()` and `clip.audio()` are numpy
arrays; nothing else needs numpy. What an engine and a job take of memory goes when they are closed or forgotten.
"""

from __future__ import annotations

import ctypes
import json
import os
import time
from typing import Any, Callable, NamedTuple, Optional, Tuple, Union

from . import library as _c

__all__ = [
    "BackendError", "Cancelled", "Clip", "Engine", "Error", "FileError", "InvalidArgument", "Job", "NotInstalled", "NotReady",
    "OutOfMemory", "Progress", "version",
]

_library = _c.load()
_OK, _TIMEOUT = 0, -7
# How long a call waits before it lets Python look for Ctrl-C, milliseconds.
_SLICE_MS = 100
_STATUSES = ("queued", "running", "completed", "failed", "cancelled")
_STAGES = (
    "", "text", "image", "voice", "base", "super-resolution", "decode video", "decode audio", "mux",
)


class Error(Exception):
    """What the library says of a failure."""

    status = -9


class InvalidArgument(Error, ValueError):
    """A value, a text, a picture or a sound that cannot be used."""

    status = -1


class FileError(Error, OSError):
    """A file that cannot be read or written."""

    status = -2


class OutOfMemory(Error, MemoryError):
    """It does not fit into memory."""

    status = -3


class BackendError(Error):
    """No device, no driver, or a failing device."""

    status = -4


class Cancelled(Error):
    """The job was cancelled."""

    status = -5


class NotReady(Error):
    """The job has not ended yet."""

    status = -6


class NotInstalled(Error):
    """Model files that are missing, damaged or of another shape."""

    status = -8


_ERRORS = {
    kind.status: kind
    for kind in (InvalidArgument, FileError, OutOfMemory, BackendError, Cancelled, NotReady, NotInstalled)
}


class Progress(NamedTuple):
    """How far a job is."""

    #: queued, running, completed, failed or cancelled
    status: str
    #: Which part of the work it is at; empty before the first.
    stage: str
    #: Steps of that part that are done.
    step: int
    #: Steps that it has.
    steps: int
    #: Per cent of all the work.
    progress: int


def version() -> str:
    """The version of the library."""
    return _library.gallop_version().decode()


def _text(call: Callable[..., int], *arguments: Any) -> str:
    """A text that a function of the library copies out."""
    length = ctypes.c_size_t()
    _check(call(*arguments, None, ctypes.byref(length)))
    buffer = ctypes.create_string_buffer(length.value)
    _check(call(*arguments, buffer, ctypes.byref(length)))
    return buffer.value.decode()


def _check(status: int) -> None:
    if status == _OK:
        return
    length = ctypes.c_size_t(0)
    _library.gallop_last_error(None, ctypes.byref(length))
    buffer = ctypes.create_string_buffer(length.value)
    _library.gallop_last_error(buffer, ctypes.byref(length))
    raise _ERRORS.get(status, Error)(buffer.value.decode())


def _bytes(name: str, text: Union[str, "os.PathLike[str]"]) -> bytes:
    encoded = os.fspath(text).encode() if not isinstance(text, str) else text.encode()
    if b"\0" in encoded:
        raise InvalidArgument(f"`{name}` must not contain a zero")
    return encoded


def _numpy() -> Any:
    try:
        import numpy
    except ImportError as error:
        raise ImportError("arrays need numpy: pip install numpy") from error
    return numpy


class Engine:
    """A device and a model that make one clip after the other."""

    def __init__(self, model: Union[str, "os.PathLike[str]", None] = None, **options: Any) -> None:
        """`options` are device, variant, decoder, precision and weight_bytes."""
        self._handle = ctypes.c_void_p()
        folder = None if model is None else _bytes("model", model)
        text = _bytes("options", json.dumps(options))
        _check(_library.gallop_engine_open(folder, text, ctypes.byref(self._handle)))

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Cancels what is being made and frees the engine; its jobs and clips stay."""
        handle, self._handle = getattr(self, "_handle", None), ctypes.c_void_p()
        if handle:
            _library.gallop_engine_close(handle)

    def _open(self) -> ctypes.c_void_p:
        if not self._handle:
            raise InvalidArgument("the engine is closed")
        return self._handle

    @property
    def info(self) -> dict:
        """Version, model, device, and what clips are by default."""
        return json.loads(_text(_library.gallop_engine_info_json, self._open()))

    def plan(self, prompt: str, **parameters: Any) -> dict:
        """What a request would become; takes what `submit` takes and makes nothing."""
        request, _kept = _request(prompt, **parameters)
        return json.loads(_text(_library.gallop_plan_json, self._open(), ctypes.byref(request)))

    def submit(
        self,
        prompt: str,
        *,
        progress: Optional[Callable[[Progress], Any]] = None,
        **parameters: Any,
    ) -> "Job":
        """Takes a request and returns at once.

        `parameters` are size (a text, or width and height), seconds, seed, steps; image (a path, or an array
        [height, width, 3] of uint8); audio (a path, or an array [samples] or [samples, channels] and its rate); and any
        other that the HTTP interface knows, such as scale, quality and negative_prompt. `progress` gets a Progress from
        another thread; if it returns something true, the job is cancelled, and what it raises is raised by `wait`.
        """
        return Job(self, prompt, progress, parameters)

    def generate(
        self,
        prompt: str,
        *,
        progress: Optional[Callable[[Progress], Any]] = None,
        **parameters: Any,
    ) -> "Clip":
        """Makes a clip; takes what `submit` takes. Ctrl-C cancels it."""
        job = self.submit(prompt, progress=progress, **parameters)
        try:
            job.wait()
            return job.clip()
        except BaseException:
            job.close()
            raise


class Job:
    """A clip that was asked for."""

    def __init__(self, engine: Engine, prompt: str, progress: Any, parameters: dict) -> None:
        self._handle = ctypes.c_void_p()
        # An engine that nobody holds any more is closed, and would cancel the job.
        self._engine = engine
        self._raised: Optional[BaseException] = None
        request, _kept = _request(prompt, **parameters)
        if progress is not None:
            # The library calls it as long as the job is made, so it lives as long as the job.
            self._heard = _c.ProgressFunction(lambda state, _: self._hear(progress, state))
            request.progress = self._heard
        _check(_library.gallop_submit(engine._open(), ctypes.byref(request), ctypes.byref(self._handle)))

    def _hear(self, progress: Callable[[Progress], Any], state: Any) -> int:
        try:
            return int(bool(progress(_progress(state.contents))))
        except BaseException as error:
            self._raised = error
            return 1

    def __enter__(self) -> "Job":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Cancels the job if it has not ended, waits for its end, and frees it."""
        handle, self._handle = getattr(self, "_handle", None), ctypes.c_void_p()
        if handle:
            _library.gallop_job_free(handle)

    def _open(self) -> ctypes.c_void_p:
        if not self._handle:
            raise InvalidArgument("the job is closed")
        return self._handle

    @property
    def progress(self) -> Progress:
        """How far it is."""
        state = _c.JobState()
        _check(_library.gallop_job_state(self._open(), ctypes.byref(state)))
        return _progress(state)

    def cancel(self) -> None:
        """Cancels it, from any thread, as often as one likes."""
        _library.gallop_job_cancel(self._open())

    def wait(self, timeout: Optional[float] = None) -> bool:
        """Waits for the clip, at most `timeout` seconds; whether it is made. Raises why it cannot be."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            left = _SLICE_MS if end is None else max(0, min(_SLICE_MS, int(1000 * (end - time.monotonic()))))
            status = _library.gallop_job_wait(self._open(), left)
            if status != _TIMEOUT:
                break
            if end is not None and time.monotonic() >= end:
                return False
        if status == Cancelled.status and self._raised is not None:
            raise self._raised
        _check(status)
        return True

    def clip(self) -> "Clip":
        """The clip of a job that is completed."""
        return Clip(self)


class Clip:
    """A clip: its file, its frames, its sound, and a report of how it was made."""

    def __init__(self, job: Job) -> None:
        data, length = ctypes.POINTER(ctypes.c_uint8)(), ctypes.c_size_t()
        _check(_library.gallop_job_mp4(job._open(), ctypes.byref(data), ctypes.byref(length)))
        #: The file.
        self.mp4: bytes = ctypes.string_at(data, length.value)
        #: Size, seed, times, warnings.
        self.report: dict = json.loads(_text(_library.gallop_job_report_json, job._open()))
        # Frames are large: they are copied when somebody wants them.
        self._job = job

    def save(self, path: Union[str, "os.PathLike[str]"]) -> None:
        """Writes the MP4."""
        with open(path, "wb") as file:
            file.write(self.mp4)

    def frames(self) -> Any:
        """uint8 [frames, height, width, 3]: red, green, blue; 25 per second."""
        numpy = _numpy()
        frames = _c.Frames()
        _check(_library.gallop_job_frames(self._job._open(), ctypes.byref(frames)))
        shape = (frames.count, frames.height, frames.width, 3)
        return numpy.ctypeslib.as_array(frames.rgb, shape).copy()

    def audio(self) -> Tuple[Any, int]:
        """float32 [samples, channels] of nominal range -1 to 1, and samples per second."""
        numpy = _numpy()
        audio = _c.Audio()
        _check(_library.gallop_job_audio(self._job._open(), ctypes.byref(audio)))
        shape = (audio.count, audio.channels)
        if audio.count == 0:
            return numpy.zeros(shape, numpy.float32), audio.rate
        return numpy.ctypeslib.as_array(audio.samples, shape).copy(), audio.rate


def _progress(state: _c.JobState) -> Progress:
    known = lambda names, index: names[index] if 0 <= index < len(names) else str(index)
    return Progress(
        known(_STATUSES, state.status), known(_STAGES, state.stage), state.step, state.steps, state.progress
    )


def _request(
    prompt: str,
    *,
    size: Union[str, Tuple[int, int], None] = None,
    seconds: Optional[float] = None,
    seed: Optional[int] = None,
    steps: Optional[int] = None,
    image: Any = None,
    audio: Any = None,
    **extra: Any,
) -> Tuple[_c.Request, list]:
    """A request, and what must live as long as it is read."""
    request, kept = _c.Request(), []
    _library.gallop_request_init(ctypes.byref(request), ctypes.sizeof(request))
    request.prompt = _bytes("prompt", prompt)
    if size is not None:
        extra["size"] = size if isinstance(size, str) else "{}x{}".format(*size)
    for name, value in (("seconds", seconds), ("seed", seed), ("num_inference_steps", steps)):
        if value is not None:
            extra[name] = value
    if isinstance(image, (str, os.PathLike)):
        request.image_path = _bytes("image", image)
    elif image is not None:
        pixels = _numpy().ascontiguousarray(image)
        if pixels.dtype != "uint8" or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise InvalidArgument(f"`image` must be uint8 [height, width, 3]; found {pixels.dtype} {list(pixels.shape)}")
        request.image_rgb = pixels.ctypes.data
        request.image_height, request.image_width = pixels.shape[:2]
        kept.append(pixels)
    if isinstance(audio, (str, os.PathLike)):
        request.audio_path = _bytes("audio", audio)
    elif audio is not None:
        samples, request.audio_rate = audio
        samples = _numpy().ascontiguousarray(samples, "float32")
        if samples.ndim not in (1, 2):
            raise InvalidArgument(f"`audio` must be [samples] or [samples, channels]; found {list(samples.shape)}")
        request.audio_samples = samples.ctypes.data
        request.audio_frames = samples.shape[0]
        request.audio_channels = samples.shape[1] if samples.ndim == 2 else 1
        kept.append(samples)
    if extra:
        request.extra_json = _bytes("extra", json.dumps(extra))
    return request, kept
