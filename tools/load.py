#!/usr/bin/env python3
"""What `gallop serve` bears: tools/load.py [--json] [--only PART,...] [GALLOP], by default target/release/gallop.

Takes about three minutes where nothing else runs, and each part has an end (--patience SECONDS, 300). Parts: `start` (time to /ready, memory of a server that has nothing to do), `queue`
(1,000 jobs, 200 of them cancelled: none lost, none doubled), `polls` (200 clients that look twice a second while a job runs,
against FastAPI on uvicorn that answers with a constant of the same size; alternating; skipped where pip cannot get it),
`slowdown` (what these looks take from the job), `weights` (how much sooner a second job with the same prompt begins; writes
1.2 GB). Prints figures beside what is wanted; ends with 1 if a job was lost or doubled. Ours needs nothing but Python.
"""

import argparse
import asyncio
import http.client
import json
import os
import pathlib
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

SMALL = {"prompt": "a red ball", "size": "32x32", "seconds": 0.2}
LONG = {"prompt": "a red ball", "size": "256x256", "seconds": 10, "num_inference_steps": 1000}
JOBS, CANCELLED, CREATORS, QUEUE_PATIENCE = 1000, 200, 8, 60
POLLERS, PERIOD, ROUND, ROUNDS = 200, 0.5, 6.0, 4
PAIRS = 4
# One version each; uvloop and httptools are what makes uvicorn fast.
FASTAPI = (
    "fastapi==0.165.0 uvicorn==0.54.0 uvloop==0.23.0 httptools==0.9.0 starlette==1.10.0 pydantic==2.14.4 "
    "pydantic-core==2.50.5 annotated-types==0.8.0 annotated-doc==0.0.7 anyio==4.16.0 idna==3.20 click==8.5.1 h11==0.16.0 "
    "typing-extensions==4.16.0 typing-inspection==0.4.5 opentelemetry-api==1.45.2"
).split()
CONSTANT = """
import json, os
from fastapi import FastAPI
app = FastAPI()
OBJECT = json.loads(os.environ["OBJECT"])
@app.get("/v1/videos/{id}")
async def get(id: str):
    return OBJECT
"""
# A folder whose denoising network has 1.1 GB, beside the miniature's other parts.
NETWORK = {
    "num_layers": 8, "hidden_size": 2048, "head_dim": 128, "num_heads_q": 16, "num_heads_kv": 4, "video_in_channels": 192,
    "audio_in_channels": 64, "text_in_channels": 128, "mm_layers": [0], "gelu7_layers": [0], "local_attn_layers": [],
    "post_norm_layers": [], "enable_attn_gating": True,
}  # fmt: skip


class Wrong(Exception):
    """A job was lost, doubled or changed."""


class Server:
    def __init__(self, gallop, folder, *arguments):
        self.state = pathlib.Path(folder) / "state"
        command = [gallop, "serve", "--listen", "127.0.0.1:0", "--state", str(self.state), "--drain", "0", *arguments]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GALLOP_")}
        begin = time.monotonic()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
        self.host = self.process.stdout.readline().decode().strip().removeprefix("http://")
        self.ask("GET", "/ready")
        self.ready_seconds = time.monotonic() - begin

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def ask(self, method, path, body=None, connection=None):
        own = connection or http.client.HTTPConnection(self.host, timeout=60)
        own.request(method, path, body and json.dumps(body), {"Content-Type": "application/json"})
        answer = own.getresponse()
        text = answer.read()
        if connection is None:
            own.close()
        if answer.status != 200:
            raise Wrong(f"{method} {path} was answered with {answer.status}: {text[:300]}")
        return json.loads(text)

    def jobs(self):
        found, after = [], ""
        while True:
            page = self.ask("GET", f"/v1/videos?order=asc&limit=100&after={after}")
            found += page["data"]
            if not page["has_more"]:
                return found
            after = page["last_id"]

    def wait(self, job, *states):
        while (now := self.ask("GET", f"/v1/videos/{job}"))["status"] not in states:
            time.sleep(0.01)
        return now

    def processor(self):
        """Seconds of processor time: of the threads that answer calls, and of all others."""
        threads = {True: 0.0, False: 0.0}
        for folder in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            try:
                text = (folder / "stat").read_text()
            except OSError:  # It ended meanwhile; the pool of blocking threads does that, of no weight here.
                continue
            name, rest = text[text.index("(") + 1 : text.rindex(")")], text[text.rindex(")") + 2 :].split()
            threads[name == "http"] += (int(rest[11]) + int(rest[12])) / os.sysconf("SC_CLK_TCK")
        return threads[True], threads[False]

    def resident(self):
        """Bytes of memory."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024


def start(gallop, folder):
    times, memory = [], []
    for number in range(5):
        with Server(gallop, folder / f"start{number}") as server:
            times.append(server.ready_seconds)
            time.sleep(0.5)
            memory.append(server.resident())
    return {"ready_seconds": max(times), "wanted_seconds": 0.3, "idle_mb": max(memory) / 1e6, "wanted_mb": 30, "servers": 5}


def queue(gallop, folder):
    with Server(gallop, folder / "queue", "--queue", str(JOBS)) as server:
        created, lock, begin = [], threading.Lock(), time.monotonic()

        def create(share):
            connection = http.client.HTTPConnection(server.host, timeout=60)
            for number in range(share):
                job = server.ask("POST", "/v1/videos", {**SMALL, "seed": number}, connection)
                with lock:
                    created.append(job["id"])

        workers = [threading.Thread(target=create, args=[JOBS // CREATORS]) for _ in range(CREATORS)]
        [one.start() for one in workers]
        [one.join() for one in workers]
        creating = time.monotonic() - begin
        if len(created) != JOBS:
            raise Wrong(f"{len(created)} of {JOBS} jobs were created")
        waiting = [job["id"] for job in server.jobs() if job["status"] == "queued"]
        chosen = random.Random(1).sample(waiting, min(CANCELLED, len(waiting)))
        begin = time.monotonic()
        ended = {id: server.ask("POST", f"/v1/videos/{id}/cancel")["status"] for id in chosen}
        cancelling = time.monotonic() - begin
        limit = time.monotonic() + QUEUE_PATIENCE
        while time.monotonic() < limit and any(job["status"] in ("queued", "in_progress") for job in server.jobs()):
            time.sleep(0.5)
        jobs = server.jobs()
        rest = [job["id"] for job in jobs if job["status"] in ("queued", "in_progress")]
        for id in rest:
            server.ask("DELETE", f"/v1/videos/{id}")
        states = {}
        for job in jobs:
            state = (job["error"] or {}).get("code") or job["status"]
            states[state] = states.get(state, 0) + 1
        ids = [job["id"] for job in jobs]
        folders = {folder.name for folder in (server.state / "jobs").iterdir()}
        if sorted(ids) != sorted(created) or len(set(created)) != JOBS:
            raise Wrong(f"lost {set(created) - set(ids)}, not asked for {set(ids) - set(created)}, {len(ids)} in all")
        if folders != set(created) - set(rest):
            raise Wrong(f"folders and jobs differ: {folders ^ (set(created) - set(rest))}")
        other = {job["id"] for job in jobs if (job["error"] or {}).get("code") == "cancelled"}
        # One that began meanwhile may have come to its end before it was cancelled.
        asked = {id for id, status in ended.items() if status == "failed"}
        if other != asked or states.get("internal"):
            raise Wrong(f"cancelled {len(asked)}, found {states}")
    return {
        "created": JOBS, "creating_seconds": creating, "waiting_after_creating": len(waiting), "cancelled": len(asked),
        "cancelling_seconds": cancelling, "completed": states.get("completed", 0), "removed_unmade": len(rest),
        "lost": 0, "doubled": 0,
    }  # fmt: skip


class Poller(asyncio.Protocol):
    """One client on one connection."""

    def __init__(self, request, times):
        self.request, self.times, self.content, self.sent = request, times, b"", None

    def connection_made(self, transport):
        self.transport = transport

    def ask(self):
        if self.sent is None:
            self.content, self.sent = b"", time.perf_counter()
            self.transport.write(self.request)

    def data_received(self, data):
        self.content += data
        head, split, body = self.content.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if split and len(body) == int(length):
            if not head.startswith(b"HTTP/1.1 200"):
                raise Wrong(head.decode())
            self.times.append(time.perf_counter() - self.sent)
            self.sent = None


async def look(host, path, seconds):
    """What each look took, of all pollers for `seconds`; those of a first period do not count."""
    address, _, port = host.partition(":")
    request, times, chance = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode(), [], random.Random(1)
    loop = asyncio.get_running_loop()

    async def one():
        _, poller = await loop.create_connection(lambda: Poller(request, times), address, int(port))
        await asyncio.sleep(chance.uniform(0, PERIOD))
        for _ in range(int(seconds / PERIOD)):
            poller.ask()
            await asyncio.sleep(PERIOD)
        poller.transport.close()

    async def forget():
        await asyncio.sleep(PERIOD)
        times.clear()

    await asyncio.gather(forget(), *(one() for _ in range(POLLERS)))
    return times


def looks(host, path, seconds=ROUND):
    return asyncio.run(look(host, path, seconds))


def quantiles(times):
    times = sorted(times)
    return {"looks": len(times), "median_ms": 1e3 * statistics.median(times), "p99_ms": 1e3 * times[int(0.99 * len(times))]}


def fastapi(folder, thing):
    """A server of others that answers with `thing`, and its address; none without its packages."""
    target = folder / "fastapi"
    get = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--target", str(target)]
    if subprocess.run([*get, *FASTAPI], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
        return None, None
    (target / "constant.py").write_text(CONSTANT)
    environment = {**os.environ, "PYTHONPATH": str(target), "OBJECT": json.dumps(thing)}
    host = "127.0.0.1:18199"
    command = [sys.executable, "-m", "uvicorn", "constant:app", "--port", host.partition(":")[2], "--log-level", "warning"]
    process = subprocess.Popen([*command, "--no-access-log", "--workers", "1"], env=environment)
    while True:
        try:
            http.client.HTTPConnection(host, timeout=5).request("GET", "/")
            return process, host
        except OSError:
            time.sleep(0.05)


def polls(gallop, folder):
    ours, theirs = [], []
    with Server(gallop, folder / "polls") as server:
        job = server.ask("POST", "/v1/videos", LONG)["id"]
        thing = server.wait(job, "in_progress")
        process, host = fastapi(folder, thing)
        try:
            for _ in range(ROUNDS):
                ours += looks(server.host, f"/v1/videos/{job}")
                theirs += looks(host, f"/v1/videos/{job}") if process else []
            thing = server.ask("GET", f"/v1/videos/{job}")
        finally:
            if process:
                process.kill()
                process.wait()
        if thing["status"] != "in_progress":
            raise Wrong(f"the job that was to run is {thing['status']}")
    result = {"gallop": quantiles(ours), "wanted_median_ms": 2}
    if theirs:
        result |= {"fastapi": quantiles(theirs), "wanted_ratio": 0.5}
        result["ratio"] = result["gallop"]["median_ms"] / result["fastapi"]["median_ms"]
    return result


def slowdown(gallop, folder):
    """Both machines' work is on the same cores, so three things are told apart: the time on the wall, to which the pollers'
    own processor time adds; the processor time of the threads that make the clip, which cold caches and locks would raise;
    and that of the threads that answer, which they take from it."""
    runs = {False: [], True: []}
    with Server(gallop, folder / "slowdown") as server:
        fields = {**SMALL, "size": "128x128", "seconds": 2, "num_inference_steps": 24}

        def run(polled):
            answering, making = server.processor()
            begin = time.monotonic()
            job = server.ask("POST", "/v1/videos", {**fields, "seed": 1})["id"]
            stop = None
            if polled:
                command = [sys.executable, __file__, "--pollers", server.host, f"/v1/videos/{job}"]
                stop = subprocess.Popen(command)
            try:
                done = server.wait(job, "completed", "failed")
                wall = time.monotonic() - begin
            finally:
                if stop:
                    stop.kill()
                    stop.wait()
            after = server.processor()
            if done["status"] != "completed":
                raise Wrong(f"the job failed: {done['error']}")
            return {"wall": wall, "answering": after[0] - answering, "making": after[1] - making}

        run(False)
        for _ in range(PAIRS):
            for polled in (False, True):
                runs[polled].append(run(polled))
    median = lambda polled, what: statistics.median(one[what] for one in runs[polled])
    share = statistics.median(one["answering"] / (one["wall"] * os.cpu_count()) for one in runs[True])
    return {
        "pairs": PAIRS, "wall_seconds": median(False, "wall"), "polled_wall_seconds": median(True, "wall"),
        "wall_ratio": median(True, "wall") / median(False, "wall"),
        "making_processor_ratio": median(True, "making") / median(False, "making"), "wanted_ratio": 1.05,
        "answering_share_of_machine": share,
    }  # fmt: skip


def weights(gallop, folder):
    model = folder / "model"

    def synth(*arguments):
        subprocess.run([gallop, "dev", "synth", *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    synth("--config", "miniature", "-o", str(model))
    (model / "large.json").write_text(json.dumps(NETWORK))
    synth("--network", "dit", "--config", str(model / "large.json"), "-o", str(model / "large"))
    manifest = json.loads((model / "gallop.json").read_text())
    manifest["distill"] = {"path": "large", "config": "large.json"}
    (model / "gallop.json").write_text(json.dumps(manifest))
    files = list((model / "large").rglob("*.safetensors"))
    size = sum(file.stat().st_size for file in files)
    # As after a start of the machine: nothing of it is in memory.
    for file in files:
        with file.open("rb") as opened:
            os.fsync(opened)
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    times = []
    with Server(gallop, folder / "weights", "--model", str(model)) as server:
        for seed in range(4):
            begin = time.monotonic()
            job = server.ask("POST", "/v1/videos", {**SMALL, "seed": seed})["id"]
            told = [at - begin for at in steps(server, job)]
            server.wait(job, "completed", "failed")
            # What the first step itself takes is what the others take.
            step = statistics.median(b - a for a, b in zip(told, told[1:]))
            times.append({"first_step_done": told[0], "a_step": step, "before_the_first": max(0.0, told[0] - step)})
    first, *others = times
    second = statistics.median(one["before_the_first"] for one in others)
    return {
        "gb": size / 1e9, "first": first, **{f"job_{number + 2}": one for number, one in enumerate(others)},
        "ratio_of_before_the_first": second / first["before_the_first"], "wanted_ratio": 0.2,
    }  # fmt: skip


def steps(server, job):
    """When the events of a job said that a denoising step is done, of all steps."""
    connection = http.client.HTTPConnection(server.host, timeout=120)
    connection.request("GET", f"/v1/videos/{job}/events")
    answer, found = connection.getresponse(), {}
    while line := answer.readline():
        data = json.loads(line[6:]) if line.startswith(b"data: ") else {}
        if data.get("stage") == "base" and data.get("step"):
            found.setdefault(data["step"], time.monotonic())
    connection.close()
    if 1 not in found or len(found) < 3:
        raise Wrong(f"the events of {job} told only of the steps {sorted(found)}")
    return [at for _, at in sorted(found.items())]


def show(name, result, depth=0):
    for key, value in result.items():
        if isinstance(value, dict):
            show(f"{name} {key}", value)
        else:
            text = f"{value:.3f}" if isinstance(value, float) else str(value)
            print(f"{name:20} {key.replace('_', ' '):32} {text:>10}")


def late(*_):
    raise Wrong("it did not come to its end in time; other work on the machine, or a larger --patience is needed")


def main():
    parts = {one.__name__: one for one in (start, queue, polls, slowdown, weights)}
    if sys.argv[1:2] == ["--pollers"]:
        try:
            looks(sys.argv[2], sys.argv[3], 3600)
        except (Wrong, OSError):
            pass
        return
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", default=",".join(parts))
    parser.add_argument("--patience", type=int, default=300)
    parser.add_argument("gallop", nargs="?", default="target/release/gallop")
    arguments = parser.parse_args()
    gallop = str(pathlib.Path(arguments.gallop).resolve())
    results = {}
    signal.signal(signal.SIGALRM, late)
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.only.split(","):
            if name not in parts:
                parser.error(f"--only must name some of {', '.join(parts)}; found {name}")
            signal.alarm(arguments.patience)
            try:
                results[name] = parts[name](gallop, pathlib.Path(folder))
            except Wrong as wrong:
                sys.exit(f"{name}: {wrong}")
            finally:
                signal.alarm(0)
            if not arguments.json:
                show(name, results[name])
                sys.stdout.flush()
    if arguments.json:
        print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
