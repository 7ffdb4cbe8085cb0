"""The litellm package against a server: URL of an open one; URL and key of one that has keys; a picture."""

import hashlib
import json
import pathlib
import sys
import time
import urllib.request

import litellm

URL, LIMITED, KEY, PICTURE = sys.argv[1:]
PICTURE = pathlib.Path(PICTURE)
OPEN = {"api_base": URL + "/v1", "api_key": "none"}
SMALL = {"prompt": "A red ball bounces", "size": "64x64", "seconds": "1"}
litellm.suppress_debug_info = True


def same(found, expected, what):
    assert found == expected, f"{what}: expected {expected!r}, found {found!r}"


def wait(job):
    for _ in range(600):
        # The client writes ids anew each time, so this one is another text for the same job.
        job = litellm.video_status(job.id, **OPEN)
        if job.status not in ("queued", "in_progress"):
            return job
        time.sleep(0.1)
    raise AssertionError(f"no end: {job}")


def as_sent():
    """The newest job as the server has it, without the client."""
    with urllib.request.urlopen(URL + "/v1/videos?limit=1") as answer:
        return json.load(answer)["data"][0]


def refused(kind, words, call, **fields):
    try:
        made = call(**fields)
    except Exception as error:
        same(type(error), kind, f"class for {error}")
        assert words in str(error), f"{words!r} is not in {str(error)!r}"
        return
    raise AssertionError(f"not refused, {kind.__name__} was expected: {made}")


def makes(provider):
    with PICTURE.open("rb") as file:
        job = litellm.video_generation(model=provider + "/x", **SMALL, **OPEN, input_reference=file, seed=7, user="a")
    same((job.object, job.size, job.seconds, job.error), ("video", "64x64", "1", None), "a new job")
    sent = as_sent()
    same((sent["seed"], sent["user"]), (7, "a"), "what the server got")
    done = wait(job)
    same((done.status, done.progress, done.error), ("completed", 100, None), "a finished job")
    same((type(done.created_at), type(done.completed_at), type(done.expires_at)), (int, int, int), "times")
    clip = litellm.video_content(done.id, **OPEN)
    same((clip[4:8], hashlib.sha256(clip).hexdigest()), (b"ftyp", as_sent()["file"]["sha256"]), "the clip")
    same(litellm.video_content(done.id, variant="thumbnail", **OPEN)[8:12], b"WEBP", "the thumbnail")
    first = litellm.video_list(custom_llm_provider=provider, limit=1, **OPEN)
    more = {"extra_body": {"width": 64, "height": 64, "num_frames": 25}, "prompt": "A blue star slides"}
    second = litellm.video_generation(model=provider + "/x", **more, **OPEN)
    found = (second.size, second.seconds, wait(second).status)
    same(found, ("64x64", "1", "completed"), "a job by width, height and frames")
    page = litellm.video_list(custom_llm_provider=provider, limit=1, **OPEN)
    same((len(page["data"]), page["has_more"], page["data"][0]["prompt"]), (1, True, more["prompt"]), "the first page")
    page = litellm.video_list(custom_llm_provider=provider, limit=1, after=page["last_id"], **OPEN)
    same(page["data"], first["data"], "the second page")


def refuses(provider):
    def create(**fields):
        return litellm.video_generation(**{"model": provider + "/x", **SMALL, **OPEN, **fields})

    refused(litellm.BadRequestError, "must be 32x32 to", create, size="1x1")
    refused(litellm.BadRequestError, "did you mean `seconds`?", create, secnods=4)
    refused(litellm.BadRequestError, "did you mean `seconds`?", create, extra_body={"secnods": 4})
    refused(litellm.BadRequestError, "missing or empty", create, prompt=" ")
    refused(litellm.BadRequestError, "`lora` is not possible", create, extra_body={"lora": "x"})
    refused(litellm.BadRequestError, "expected a PNG, JPEG or WebP", create, input_reference=b"no picture")
    refused(litellm.AuthenticationError, "the key is not one", create, api_base=LIMITED + "/v1")
    for call in (litellm.video_status, litellm.video_content):
        refused(litellm.NotFoundError, "video_123", call, video_id="video_123", custom_llm_provider=provider, **OPEN)


def makes_by_dashscope():
    """litellm asks for the root, without a path, and takes sizes from its own table of models alone."""
    server = {"api_base": URL, "api_key": "none"}
    fields = {"model": "dashscope/happyhorse-1.0-t2v", "prompt": SMALL["prompt"], "seconds": "1"}

    def create(**parameters):
        return litellm.video_generation(**fields, parameters={"size": "64*64", "seed": 7, **parameters}, **server)

    job = create()
    same((job.status, job.seconds, job.error), ("queued", "1.0", None), "a new task")
    for _ in range(600):
        if job.status not in ("queued", "in_progress"):
            break
        time.sleep(0.1)
        job = litellm.video_status(job.id, **server)
    same((job.status, job.size, job.seconds), ("completed", "64x64", "1.0"), f"a finished task: {job}")
    assert abs(job.created_at - time.time()) < 300 and job.completed_at >= job.created_at, f"times: {job}"
    clip = litellm.video_content(job.id, **server)
    same((clip[4:8], hashlib.sha256(clip).hexdigest()), (b"ftyp", as_sent()["file"]["sha256"]), "the clip")
    refused(litellm.BadRequestError, "did you mean `seed`?", create, sead=4)
    unknown = {"video_id": "00000000-0000-0000-0000-000000000000", "custom_llm_provider": "dashscope"}
    refused(litellm.BadRequestError, "Task not found", litellm.video_status, **unknown, **server)


failed = 0
try:
    makes_by_dashscope()
except Exception as error:
    failed = 1
    print(f"dashscope: {type(error).__name__}: {error}")
for provider in ("openai", "hosted_vllm"):
    for check in (makes, refuses):
        try:
            check(provider)
        except Exception as error:
            failed = 1
            print(f"{provider}: {check.__name__}: {type(error).__name__}: {error}")
page = litellm.video_list(custom_llm_provider="openai", api_base=LIMITED + "/v1", api_key=KEY)
same(page["object"], "list", "a call with a key")
sys.exit(failed)
