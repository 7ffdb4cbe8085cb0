#!/usr/bin/env python3
"""Kills the server at random moments: tools/kills.py [GALLOP] [KILLS], by default target/release/gallop and 100.

While it runs, clients create, cancel and delete jobs. After each kill a new server is started on the same folder and
asked for all jobs: every job whose creation was answered is there unless its deletion was asked for, none is there twice,
none whose deletion was answered is there, no final state has changed, what was cancelled is, and clips of one seed have
the same bytes. Prints figures; ends with 1 at the first thing that is wrong. Needs nothing but Python.
"""

import hashlib
import http.client
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import time

CLIENTS = 3
SEEDS = 4


class Server:
    def __init__(self, gallop, state, log):
        command = [gallop, "serve", "--listen", "127.0.0.1:0", "--state", str(state), "--queue", "12"]
        begin = time.monotonic()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
        line = self.process.stdout.readline().decode().strip()
        self.start_seconds = time.monotonic() - begin
        if not line:
            wrong("the server did not start")
        self.host = line.removeprefix("http://")

    def ask(self, method, path, body=None, headers=None):
        """Status and content; an OSError or HTTPException if the server died meanwhile."""
        connection = http.client.HTTPConnection(self.host, timeout=60)
        try:
            text = None if body is None else json.dumps(body)
            headers = {"Content-Type": "application/json", **(headers or {})}
            connection.request(method, path, text, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def jobs(self):
        """All jobs, page by page."""
        found, after = [], ""
        while True:
            status, page = self.ask("GET", f"/v1/videos?order=asc&limit=100&after={after}")
            if status != 200:
                wrong(f"a list was answered with {status}: {page}")
            page = json.loads(page)
            found += page["data"]
            if not page["has_more"]:
                return found
            after = page["last_id"]


class Known:
    """What the clients were told."""

    def __init__(self):
        self.lock = threading.Lock()
        self.created = set()
        self.deleted = set()
        self.unsure = set()  # a deletion was asked for and not answered
        self.cancelled = set()
        self.final = {}
        self.clips = {}
        self.counts = {}

    def count(self, what):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def pick(self, random):
        with self.lock:
            alive = sorted(self.created - self.deleted - self.unsure)
        return random.choice(alive[-20:]) if alive else None


WRONG = threading.Event()


def wrong(text):
    """Ends the thread that saw it, and with it the program."""
    print(f"wrong: {text}", file=sys.stderr, flush=True)
    WRONG.set()
    sys.exit(1)


def client(server, known, stop, seed):
    """Works until the server dies."""
    own = random.Random(seed)
    while not stop.is_set():
        job = known.pick(own)
        action = own.choices(["create", "cancel", "delete", "get"], [5, 1, 1.5, 2])[0]
        action = action if job else "create"
        try:
            act(server, known, own, action, job)
        except (OSError, http.client.HTTPException):
            known.count(f"{action} without answer")
            return
        stop.wait(own.uniform(0, 0.03))


def act(server, known, own, action, job):
    if action == "create":
        fields = {"prompt": "a red ball", "size": "32x32", "seconds": 0.2, "seed": own.randrange(SEEDS)}
        name = f"{own.getrandbits(64):x}"
        fields["metadata"] = name
        status, answer = server.ask("POST", "/v1/videos", fields, {"Idempotency-Key": name})
        if status == 200:
            with known.lock:
                known.created.add(json.loads(answer)["id"])
    elif action == "delete":
        with known.lock:
            known.unsure.add(job)
        status, answer = server.ask("DELETE", f"/v1/videos/{job}")
        if status == 200:
            with known.lock:
                known.deleted.add(job)
    elif action == "cancel":
        status, answer = server.ask("POST", f"/v1/videos/{job}/cancel")
        if status == 200 and json.loads(answer)["status"] == "failed":
            with known.lock:
                known.cancelled.add(job)
    else:
        status, answer = server.ask("GET", f"/v1/videos/{job}")
        if status == 200:
            see(known, json.loads(answer))
    if status not in (200, 404, 429):
        wrong(f"{action} was answered with {status}: {answer}")
    known.count(f"{action} {status}")


def see(known, job):
    """Final states stay as they are."""
    code = (job["error"] or {}).get("code")
    now = (job["status"], code, (job["file"] or {}).get("sha256"))
    if job["status"] in ("completed", "failed"):
        with known.lock:
            before = known.final.setdefault(job["id"], now)
        if before != now:
            wrong(f"{job['id']} was {before} and is {now}")


def look(server, known, state):
    """Compares all that the server has with what is known."""
    jobs = server.jobs()
    ids = [job["id"] for job in jobs]
    names = [job["metadata"] for job in jobs]
    if len(set(ids)) != len(ids) or len(set(names)) != len(names):
        wrong("a job is there twice")
    folders = {folder.name for folder in (state / "jobs").iterdir()}
    if folders != set(ids):
        wrong(f"folders and jobs differ: {folders ^ set(ids)}")
    if (state / "broken").exists():
        wrong("a job was broken")
    lost = known.created - known.deleted - known.unsure - set(ids)
    back = known.deleted & set(ids)
    if lost or back:
        wrong(f"lost: {lost}; back: {back}")
    for job in jobs:
        see(known, job)
        if job["id"] in known.cancelled and (job["error"] or {}).get("code") not in ("cancelled", "internal"):
            wrong(f"{job['id']} was cancelled and is {job['status']}")
        if job["status"] == "completed":
            clip = (state / "jobs" / job["id"] / "video.mp4").read_bytes()
            found = hashlib.sha256(clip).hexdigest()
            if found != job["file"]["sha256"] or known.clips.setdefault(job["seed"], found) != found:
                wrong(f"the clip of {job['id']} has other bytes")
    known.created.update(ids)
    return jobs


def main():
    gallop = str(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "target/release/gallop").resolve())
    kills = int(sys.argv[2]) if len(sys.argv) > 2 else 100
    known, starts, begin = Known(), [], time.monotonic()
    chance = random.Random(1)
    with tempfile.TemporaryDirectory() as folder, open(pathlib.Path(folder) / "log", "w+b") as log:
        state = pathlib.Path(folder) / "state"
        server = Server(gallop, state, log)
        try:
            for number in range(kills):
                stop = threading.Event()
                clients = [
                    threading.Thread(target=client, args=(server, known, stop, CLIENTS * number + one))
                    for one in range(CLIENTS)
                ]
                for one in clients:
                    one.start()
                time.sleep(chance.uniform(0.02, 0.6))
                server.kill()
                stop.set()
                for one in clients:
                    one.join()
                if WRONG.is_set():
                    sys.exit(1)
                server = Server(gallop, state, log)
                starts.append(server.start_seconds)
                look(server, known, state)
            while any(job["status"] in ("queued", "in_progress") for job in server.jobs()):
                time.sleep(0.1)
            jobs = look(server, known, state)
        finally:
            server.kill()
        log.seek(0)
        if b"panicked" in log.read():
            wrong("a thread of the server panicked")
    states = {}
    for job in jobs:
        state = (job["error"] or {}).get("code") or job["status"]
        states[state] = states.get(state, 0) + 1
    print(f"{kills} kills in {time.monotonic() - begin:.0f} s; start to address at most {max(starts):.2f} s")
    print("calls: " + ", ".join(f"{count} {what}" for what, count in sorted(known.counts.items())))
    print("jobs at the end: " + ", ".join(f"{count} {state}" for state, count in sorted(states.items())))
    print("none lost, none doubled, none in two states")


if __name__ == "__main__":
    main()
