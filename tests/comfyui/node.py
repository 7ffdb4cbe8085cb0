"""tools/comfyui_gallop.py against a running server: the binary, and a folder with the miniature in `model`."""

import contextlib
import hashlib
import http.server
import importlib.util
import io
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time
import types
import urllib.request
import wave

import numpy
from PIL import Image

GALLOP, WORK = sys.argv[1], pathlib.Path(sys.argv[2])
FILE = pathlib.Path(__file__).resolve().parents[2] / "tools/comfyui_gallop.py"
SMALL = {"prompt": "A red ball bounces", "size": "auto", "seconds": 1.0, "seed": 2**64 - 1}
SIZE = '{"size": "64x64"}'
LONG = '{"size": "256x256", "seconds": 10, "num_inference_steps": 1000}'


class Tensor:
    """What the node needs of PyTorch's: one on a GPU, with a gradient, in bf16, none of which numpy takes."""

    def __init__(self, array, left=("detach", "cpu", "float")):
        self.array, self.left = array, frozenset(left)

    def __getitem__(self, place):
        return Tensor(self.array[place], self.left)

    def __getattr__(self, name):
        if name not in ("detach", "cpu", "float"):
            raise AttributeError(name)
        return lambda: Tensor(self.array, self.left - {name})

    def numpy(self):
        if self.left:
            raise TypeError(f"can't convert to numpy: {sorted(self.left)}")
        return self.array


class Stopped(BaseException):
    """As ComfyUI's stop button has it."""


class Comfy:
    """The modules of ComfyUI that the node imports."""

    def __init__(self):
        self.progress = []
        self.stop_when = lambda: False
        comfy = self.module("comfy")
        comfy.model_management = self.module("comfy.model_management")
        comfy.model_management.throw_exception_if_processing_interrupted = self.throw
        comfy.utils = self.module("comfy.utils")
        comfy.utils.ProgressBar = lambda total: types.SimpleNamespace(update_absolute=self.progress.append)
        self.videos("latest")

    def module(self, name, **members):
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(members)
        return sys.modules[name]

    def videos(self, release):
        """VIDEO where this release has it."""
        for name in [name for name in sys.modules if name.startswith("comfy_api")]:
            del sys.modules[name]
        self.module("comfy_api")
        kind = lambda file: types.SimpleNamespace(content=file.read(), release=release)
        if release == "latest":
            self.module("comfy_api.latest", InputImpl=types.SimpleNamespace(VideoFromFile=kind))
        elif release == "first":
            self.module("comfy_api.input_impl", VideoFromFile=kind)

    def throw(self):
        if self.stop_when():
            raise Stopped


class Server:
    """A running `gallop serve`, which the node's variables name."""

    def __init__(self, name, *arguments, listen="127.0.0.1:0", key=None):
        command = [GALLOP, "serve", "--listen", listen, "--state", str(WORK / name), "--min-free", "0", "--drain", "0"]
        environment = {**os.environ, "GALLOP_API_KEY": key or ""}
        log = open(WORK / f"{name}.log", "ab")
        self.process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        self.url = self.process.stdout.readline().strip()
        assert self.url, (WORK / f"{name}.log").read_text()
        os.environ["GALLOP_URL"] = self.url

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return json.load(answer)

    def jobs(self):
        return self.get("/v1/videos?limit=100")["data"]

    def stop(self):
        self.process.kill()
        self.process.wait()


def load():
    """The node, as ComfyUI imports a file of custom_nodes."""
    spec = importlib.util.spec_from_file_location("comfyui_gallop", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def same(found, expected, what):
    assert found == expected, f"{what}: expected {expected!r}, found {found!r}"


def refused(node, message, **inputs):
    try:
        node.make(**{**SMALL, "extra_json": SIZE, **inputs})
    except RuntimeError as error:
        assert message(str(error)), f"the message is {error}"
        return error
    raise AssertionError(f"not refused: {inputs}")


def picture():
    """A ramp with values beyond both ends."""
    pixels = numpy.zeros((2, 48, 80, 3), numpy.float32)
    pixels[0] = numpy.linspace(-0.25, 1.25, 80)[None, :, None]
    pixels[0, :, :, 1] = 0.5
    return pixels


def sound(channels=2, rate=22050):
    time_of = numpy.arange(rate) / rate
    tone = 1.5 * numpy.sin(2 * numpy.pi * 220 * time_of)
    return numpy.stack([tone * (one + 1) for one in range(channels)])[None].astype(numpy.float32), rate


def what_is_sent_is_what_was_given(comfy, server, module):
    pixels = picture()
    with Image.open(io.BytesIO(module.png(Tensor(pixels)))) as image:
        same((image.format, image.mode, image.size), ("PNG", "RGB", (80, 48)), "the picture")
        expected = numpy.round(numpy.clip(pixels[0], 0, 1) * 255)
        same(numpy.abs(numpy.asarray(image) - expected).max(), 0, "the picture's values")
    samples, rate = sound()
    with wave.open(io.BytesIO(module.wav({"waveform": Tensor(samples), "sample_rate": rate}))) as file:
        same((file.getnchannels(), file.getframerate(), file.getnframes()), (2, rate, rate), "the sound")
        found = numpy.frombuffer(file.readframes(rate), "<i2").reshape(-1, 2).T / 32767
        assert numpy.abs(found - numpy.clip(samples[0], -1, 1)).max() < 1 / 32767, "the sound's values"


def a_clip_with_picture_and_sound_is_made(comfy, server, module):
    node = module.NODE_CLASS_MAPPINGS["GallopVideo"]()
    samples, rate = sound(channels=1)
    inputs = {"image": Tensor(picture()), "audio": {"waveform": Tensor(samples), "sample_rate": rate}}
    video, report = node.make(**SMALL, **inputs, extra_json=SIZE)
    job = json.loads(report)
    same((job["status"], job["seed"], job["size"], video.release), ("completed", 2**64 - 1, "64x64", "latest"), "the job")
    same(hashlib.sha256(video.content).hexdigest(), job["file"]["sha256"], "the clip")
    assert video.content[4:8] == b"ftyp" and b"soun" in video.content, "a clip without sound"
    same(comfy.progress[-1], 100, "the progress")
    same(comfy.progress, sorted(comfy.progress), "the progress")
    comfy.videos("first")
    other, again = node.make(**SMALL, extra_json=SIZE)
    same(other.release, "first", "the kind of VIDEO")
    assert json.loads(again)["file"]["sha256"] != job["file"]["sha256"], "picture and sound changed nothing"
    comfy.videos(None)
    refused(node, lambda text: "update it" in text)
    comfy.videos("latest")


def the_servers_words_are_shown_unchanged(comfy, server, module):
    node = module.GallopVideo()
    for fields in ({"stepss": 3}, {"seconds": -1}, {"size": "31x31"}, {"lora": [{"name": "a"}]}, {"prompt": " "}):
        body = json.dumps({"prompt": "A ball", **fields}).encode()
        request = urllib.request.Request(server.url + "/v1/videos", body, {"Content-Type": "application/json"})
        try:
            urllib.request.urlopen(request, timeout=30)
            raise AssertionError(f"{fields} was taken")
        except urllib.error.HTTPError as error:
            message = json.load(error)["error"]["message"]
        refused(node, lambda text: text == message, extra_json=json.dumps(fields))
    for text in ("{", "[]", "7"):
        refused(node, lambda text: text.startswith("extra_json must be"), extra_json=text)
    empty = {"waveform": Tensor(numpy.zeros((1, 2, 0), numpy.float32)), "sample_rate": 8000}
    refused(node, lambda text: "audio_reference" in text, audio=empty)


def the_stop_button_frees_the_server(comfy, server, module):
    before = {job["id"] for job in server.jobs()}

    def runs():
        return any(job["stage"] == "base" for job in server.jobs())

    comfy.stop_when = runs
    try:
        module.GallopVideo().make(**SMALL, extra_json=LONG)
        raise AssertionError("not stopped")
    except Stopped:
        pass
    finally:
        comfy.stop_when = lambda: False
    same({job["id"] for job in server.jobs()}, before, "jobs after the stop")
    start = time.monotonic()
    module.GallopVideo().make(**SMALL, extra_json=SIZE)
    assert time.monotonic() - start < 10, "the server still works on what was stopped"


def sizes_are_those_of_the_server(comfy, server, module):
    sizes, _ = module.GallopVideo.INPUT_TYPES()["required"]["size"]
    known = server.get("/v1/models")["data"][0]["capabilities"]["sizes"]
    same(sizes, ["auto", *(size for size in known if size != "WIDTHxHEIGHT")], "sizes")
    same(module.GallopVideo.VALIDATE_INPUTS("1x1"), True, "a size of another server")


def a_server_that_says_nothing_costs_a_second(comfy, server, module):
    def trickle(listener):
        connection, _ = listener.accept()
        with contextlib.suppress(OSError):
            for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"{" * 100:
                connection.send(bytes([byte]))
                time.sleep(0.1)

    for behave in (None, trickle):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            if behave:
                threading.Thread(target=behave, args=[listener], daemon=True).start()
            os.environ["GALLOP_URL"] = "http://127.0.0.1:%d" % listener.getsockname()[1]
            start = time.monotonic()
            sizes = load().GallopVideo.INPUT_TYPES()["required"]["size"][0]
            took = time.monotonic() - start
        same(sizes, ["auto", "256p", "540p", "1080p"], "sizes without a server")
        assert took < 1.5, f"it took {took:.1f} s"
    for url in ("file:///etc/hostname", "ftp://127.0.0.1"):
        os.environ["GALLOP_URL"] = url
        refused(load().GallopVideo(), lambda text: text.startswith("GALLOP_URL must be"))
    os.environ["GALLOP_URL"] = server.url.removeprefix("http://") + "/v1/"
    load().GallopVideo().make(**SMALL, extra_json=SIZE)
    os.environ["GALLOP_URL"] = server.url


def a_server_may_start_again_and_may_stay_away(comfy, server, module):
    listen = server.url.removeprefix("http://")
    seen = []

    def restart():
        """In mid-job, once."""
        if not seen and any(job["status"] == "in_progress" for job in server.jobs()):
            seen.append(server.jobs()[0]["id"])
            server.stop()
            server.__init__("open", "--model", str(WORK / "model"), listen=listen)
        return False

    comfy.stop_when = restart
    fields = '{"size": "64x64", "num_inference_steps": 60}'
    _, report = module.GallopVideo().make(**{**SMALL, "seconds": 2.0}, extra_json=fields)
    same([json.loads(report)["id"]], seen, "the job that went on after the restart")

    def leave():
        if any(job["status"] == "in_progress" for job in server.jobs()):
            server.stop()
            comfy.stop_when = lambda: False
        return False

    comfy.stop_when = leave
    module.AWAY = 1.0
    refused(module.GallopVideo(), lambda text: text.startswith(server.url + " does not answer"), extra_json=LONG)
    refused(module.GallopVideo(), lambda text: "start `gallop serve` there, or set GALLOP_URL" in text)


def a_key_is_needed_and_goes_nowhere_else(comfy, server, module):
    locked = Server("locked", key="the right key")
    node = module.GallopVideo()
    for key in ("", "another key"):
        os.environ["GALLOP_API_KEY"] = key
        refused(node, lambda text: "key" in text and "does not answer" not in text)
    os.environ["GALLOP_API_KEY"] = "the right key"
    node.make(**SMALL, extra_json=SIZE)
    locked.stop()
    heard = []

    class Elsewhere(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            heard.append((self.path, self.headers["Authorization"]))
            self.send_response(302 if self.path == "/first" else 200)
            self.send_header("Location", "http://localhost:%d/second" % self.server.server_port)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Elsewhere) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        os.environ["GALLOP_URL"] = "http://127.0.0.1:%d" % other.server_port
        module.call("GET", "/first")
        other.shutdown()
    same(heard, [("/first", "Bearer the right key"), ("/second", None)], "the key")


def main():
    comfy = Comfy()
    server = Server("open", "--model", str(WORK / "model"))
    module = load()
    try:
        for check in (
            what_is_sent_is_what_was_given,
            a_clip_with_picture_and_sound_is_made,
            the_servers_words_are_shown_unchanged,
            the_stop_button_frees_the_server,
            sizes_are_those_of_the_server,
            a_server_that_says_nothing_costs_a_second,
            a_server_may_start_again_and_may_stay_away,
            a_key_is_needed_and_goes_nowhere_else,
        ):
            start = time.monotonic()
            check(comfy, server, module)
            print(f"{check.__name__.replace('_', ' '):60} {time.monotonic() - start:6.1f} s", flush=True)
    finally:
        server.stop()
    for log in WORK.glob("*.log"):
        assert "panicked" not in log.read_text(), log.read_text()


main()
