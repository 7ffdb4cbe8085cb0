"""A node for ComfyUI that asks `gallop serve` for a clip: copy or link this file into ComfyUI's custom_nodes.

GALLOP_URL is the server, http://127.0.0.1:8190 by default, and GALLOP_API_KEY its key where it needs one. The node gives
a VIDEO, with its sound, and a report. ComfyUI's stop button ends the work on the server. Needs what ComfyUI has anyway.
"""

import http.client
import io
import json
import os
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
import wave

from PIL import Image

# What is offered until a server has said what it can.
SIZES = ["256p", "540p", "1080p"]
SECONDS_MAX = 10.0
# Seconds: for the server to say so, between two looks at a job, for one answer, for a server that is away to come back.
CAPABILITIES_PATIENCE = 1.0
POLL = 0.5
ANSWER = 60.0
AWAY = 20.0


class Refused(RuntimeError):
    """What the server says against a request, in its words."""


class Away(RuntimeError):
    """The server cannot be reached."""


def server():
    """The server's address without a slash behind it; `/v1`, which other clients need, may stand there."""
    url = os.environ.get("GALLOP_URL", "").strip() or "http://127.0.0.1:8190"
    url = (url if "://" in url else "http://" + url).rstrip("/").removesuffix("/v1")
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise RuntimeError(f"GALLOP_URL must be such as http://127.0.0.1:8190; found {url}")
    return url


def call(method, path, body=None, headers=None, timeout=None):
    """What the server answers, as bytes."""
    url = server()
    request = urllib.request.Request(url + path, body, headers or {}, method=method)
    if key := os.environ.get("GALLOP_API_KEY", "").strip():
        # Not for whomever an answer sends us to.
        request.add_unredirected_header("Authorization", f"Bearer {key}")
    # A proxy of the system has no way to this machine.
    is_here = urllib.parse.urlsplit(url).hostname in ("127.0.0.1", "::1", "localhost")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({} if is_here else None))
    try:
        with opener.open(request, timeout=timeout or ANSWER) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        with error:
            text = error.read()
        raise Refused(words(text) or f"{url}{path} answered {error.code}: {text[:200].decode(errors='replace')}") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        problem = f"{url} does not answer ({reason}); start `gallop serve` there, or set GALLOP_URL"
        raise Away(problem) from error


def words(text):
    """The message of an answer that is an error, if it is the server's."""
    try:
        return json.loads(text)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return None


def patiently(method, path, *arguments):
    """What the server answers. One that ends and starts again keeps its jobs, so it gets some time."""
    limit = time.monotonic() + AWAY
    while True:
        throw_if_stopped()
        try:
            return call(method, path, *arguments)
        except Away:
            if time.monotonic() > limit:
                raise
            time.sleep(POLL)


def form(fields, files):
    """A body for the fields and the files, and its headers."""
    boundary = uuid.uuid4().hex
    parts = []
    for name, value in fields.items():
        value = value if isinstance(value, str) else json.dumps(value)
        parts.append(f'Content-Disposition: form-data; name="{quoted(name)}"\r\n\r\n'.encode() + value.encode())
    for name, content in files.items():
        parts.append(f'Content-Disposition: form-data; name="{name}"; filename="{name}"\r\n\r\n'.encode() + content)
    body = b"".join(f"--{boundary}\r\n".encode() + part + b"\r\n" for part in parts) + f"--{boundary}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}", "Idempotency-Key": boundary}


def quoted(name):
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def png(image):
    """The first picture of [B, H, W, C] between 0 and 1."""
    pixels = image[0].detach().cpu().float().numpy()[..., :3]
    pixels = (pixels.clip(0, 1) * 255).round().astype("uint8")
    height, width = pixels.shape[:2]
    file = io.BytesIO()
    Image.frombytes("RGB", (width, height), pixels.tobytes()).save(file, "PNG")
    return file.getvalue()


def wav(audio):
    """The first sound of {"waveform": [B, C, N] between -1 and 1, "sample_rate"}."""
    samples = audio["waveform"][0].detach().cpu().float().numpy()
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(samples.shape[0])
        out.setsampwidth(2)
        out.setframerate(int(audio["sample_rate"]))
        out.writeframes((samples.T.clip(-1, 1) * 32767).round().astype("<i2").tobytes())
    return file.getvalue()


def more(text):
    """The fields that `extra_json` gives."""
    try:
        fields = json.loads(text.strip() or "{}")
    except ValueError as error:
        raise RuntimeError(f'extra_json must be such as {{"num_inference_steps": 8}}: {error}') from None
    if not isinstance(fields, dict):
        raise RuntimeError(f'extra_json must be an object such as {{"num_inference_steps": 8}}; found {text.strip()[:80]}')
    return {name: value for name, value in fields.items() if value is not None}


def throw_if_stopped():
    """Raises ComfyUI's own exception once its stop button was pressed."""
    from comfy.model_management import throw_exception_if_processing_interrupted

    throw_exception_if_processing_interrupted()


def video(content):
    """ComfyUI's VIDEO of an MP4. Frames alone would lose the sound."""
    try:
        from comfy_api.latest import InputImpl

        kind = InputImpl.VideoFromFile
    except ImportError:
        try:
            from comfy_api.input_impl import VideoFromFile as kind
        except ImportError:
            raise RuntimeError("this ComfyUI has no VIDEO yet; update it to a release from May 2025 or later") from None
    return kind(io.BytesIO(content))


class Capabilities:
    """What the server makes, asked for once it answers; a server that is away costs a second, and not each time."""

    def __init__(self):
        self.lock = threading.Lock()
        self.found = None
        self.next = 0.0

    def get(self):
        """Sizes and the largest length."""
        with self.lock:
            if self.found is None and time.monotonic() >= self.next:
                self.next = time.monotonic() + 30
                # An answer that comes byte by byte is within the time of each and not within ours.
                thread = threading.Thread(target=self.ask, daemon=True)
                thread.start()
                thread.join(CAPABILITIES_PATIENCE)
            return self.found or (SIZES, SECONDS_MAX)

    def ask(self):
        try:
            model = json.loads(call("GET", "/v1/models", timeout=CAPABILITIES_PATIENCE))["data"][0]
            sizes = [str(size) for size in model["capabilities"]["sizes"] if size[0].isdigit()]
            self.found = (sizes, float(model["capabilities"]["seconds"]["max"]))
        except (RuntimeError, ValueError, KeyError, IndexError, TypeError):
            pass


CAPABILITIES = Capabilities()


class GallopVideo:
    """Makes one clip."""

    CATEGORY = "video/gallop"
    DESCRIPTION = "A clip with picture and sound from a prompt, by a gallop server (GALLOP_URL, GALLOP_API_KEY)"
    FUNCTION = "make"
    RETURN_TYPES = ("VIDEO", "STRING")
    RETURN_NAMES = ("video", "report")

    @classmethod
    def INPUT_TYPES(cls):
        sizes, longest = CAPABILITIES.get()
        extra = {"default": "{}", "multiline": True, "tooltip": "Further fields of the request; they win over the others"}
        return {
            "required": {
                "prompt": ("STRING", {"default": "A big red ball bounces on a floor", "multiline": True}),
                "size": (["auto", *sizes], {"tooltip": "For others set extra_json to {\"size\": \"640x352\"}"}),
                "seconds": ("FLOAT", {"default": min(5.0, longest), "min": 0.04, "max": longest, "step": 0.04}),
                "seed": ("INT", {"default": 0, "min": 0, "max": 2**64 - 1, "control_after_generate": True}),
            },
            "optional": {
                "image": ("IMAGE", {"tooltip": "The first frame"}),
                "audio": ("AUDIO", {"tooltip": "A voice track that drives the clip"}),
                "extra_json": ("STRING", extra),
            },
        }

    @classmethod
    def VALIDATE_INPUTS(cls, size):
        # The list may be that of another server than the workflow was made with; the server itself knows.
        return True

    def make(self, prompt, size, seconds, seed, image=None, audio=None, extra_json="{}"):
        from comfy.utils import ProgressBar

        fields = {"prompt": prompt, "seconds": round(seconds, 3), "seed": seed}
        if size != "auto":
            fields["size"] = size
        files = {} if image is None else {"input_reference": png(image)}
        if audio is not None:
            files["audio_reference"] = wav(audio)
        bar = ProgressBar(100)
        body = form({**fields, **more(extra_json)}, files)
        job = json.loads(patiently("POST", "/v1/videos", *body))
        path = "/v1/videos/" + job["id"]
        try:
            while job["status"] in ("queued", "in_progress"):
                bar.update_absolute(job["progress"])
                time.sleep(POLL)
                job = json.loads(patiently("GET", path))
            is_made = job["status"] == "completed"
            content = patiently("GET", path + "/content") if is_made else None
        except BaseException:  # The stop button, or a server that stays away: nobody waits for the clip any more.
            try:
                call("DELETE", path, timeout=10)
            except RuntimeError:
                pass
            raise
        if not is_made:
            raise Refused(job["error"]["message"])
        bar.update_absolute(100)
        return video(content), json.dumps(job, ensure_ascii=False, indent=2)


NODE_CLASS_MAPPINGS = {"GallopVideo": GallopVideo}
NODE_DISPLAY_NAME_MAPPINGS = {"GallopVideo": "gallop: clip with sound"}
# What a server can is asked for while ComfyUI starts, not when its page waits for the list of nodes.
CAPABILITIES.get()
