"""The openai package for Python against a server: URL of an open one; URL and key of one that has keys and takes two
waiting jobs; a picture."""

import base64
import hashlib
import pathlib
import sys
import time
import warnings

import httpx2
import openai
from openai import OpenAI
from openai.types import Video

warnings.simplefilter("ignore", DeprecationWarning)
URL, LIMITED, KEY, PICTURE = sys.argv[1:]
PICTURE = pathlib.Path(PICTURE)
SMALL = {"prompt": "A red ball bounces", "model": "sora-2", "size": "64x64", "seconds": "1"}
LONG = {"seconds": "10", "size": "448x256", "extra_body": {"num_inference_steps": 1000}}

calls = []
http = openai.DefaultHttpxClient(event_hooks={"request": [calls.append]})
client = OpenAI(base_url=URL + "/v1", api_key="none", http_client=http)
limited = OpenAI(base_url=LIMITED + "/v1", api_key=KEY, max_retries=0)


def same(found, expected, what):
    assert found == expected, f"{what}: expected {expected!r}, found {found!r}"


def refused(kind, call, code, param, words, status=None):
    """`call` raises exactly `kind`, once, with the server's code, parameter and text."""
    calls.clear()
    try:
        made = call()
    except openai.APIStatusError as error:
        same(type(error), kind, f"class for {error}")
        same((error.code, error.param), (code, param), f"code and parameter of {error}")
        assert words in error.message, f"{words!r} is not in {error.message!r}"
        assert status in (None, error.status_code), f"status {error.status_code} of {error}"
        assert len(calls) <= 1, f"{len(calls)} calls for {error}"
        return error
    raise AssertionError(f"not refused, {kind.__name__} was expected: {made}")


def bad(code, param, words, **fields):
    refused(openai.BadRequestError, lambda: client.videos.create(**{**SMALL, **fields}), code, param, words)


def creates():
    job = client.videos.create(**SMALL)
    same((job.object, job.size, job.seconds), ("video", "64x64", "1"), "a new job")
    same((job.error, job.completed_at, job.remixed_from_video_id), (None, None, None), "a new job")
    assert job.status in ("queued", "in_progress") and job.id.startswith("video_"), job
    assert type(job.created_at) is int and abs(job.created_at - time.time()) < 60, job
    assert any("sora-2" in warning["message"] for warning in job.warnings), f"no word of another model: {job.warnings}"
    raw = client.videos.with_raw_response.retrieve(job.id)
    assert 250 <= int(raw.headers["openai-poll-after-ms"]) <= 5000, raw.headers
    done = client.videos.poll(job.id)
    same((done.id, done.status, done.progress, done.error), (job.id, "completed", 100, None), "a polled job")
    assert type(done.completed_at) is int and done.expires_at > done.completed_at >= done.created_at, done


def creates_with_a_picture():
    seeded = {"seed": 7, "generate_audio": False}
    with PICTURE.open("rb") as file:
        first = client.videos.create_and_poll(**SMALL, input_reference=file, extra_body=seeded)
    same((first.status, first.seed), ("completed", 7), "a job with a picture")
    named = ("wrong.txt", PICTURE.read_bytes(), "text/plain")
    again = client.videos.create_and_poll(**SMALL, input_reference=named, extra_body=seeded)
    same(again.file["sha256"], first.file["sha256"], "the same request with the picture by another name")
    other = client.videos.create_and_poll(**SMALL, extra_body=seeded)
    assert other.file["sha256"] != first.file["sha256"], "the picture changed nothing"
    # The type of `input_reference` has an object, which the client refuses to send; JSON takes it.
    picture = "data:image/png;base64," + base64.b64encode(PICTURE.read_bytes()).decode()
    body = {**SMALL, **seeded, "input_reference": {"image_url": picture}}
    job = client.post("/videos", body=body, cast_to=Video)
    same(client.videos.poll(job.id).file["sha256"], first.file["sha256"], "the same request as JSON")
    in_form = {**seeded, "input_reference": {"image_url": picture}}
    job = client.videos.create_and_poll(**SMALL, extra_body=in_form)
    same(job.file["sha256"], first.file["sha256"], "the same request with the picture in extra_body")


class Lossy(httpx2.HTTPTransport):
    """Loses the first answer."""

    lost = False

    def handle_request(self, request):
        answer = super().handle_request(request)
        if not self.lost:
            self.lost = True
            answer.read()
            raise httpx2.ReadError("lost")
        return answer


def repeats_what_was_lost():
    before = {job.id for job in client.videos.list()}
    transport = Lossy()
    lossy = client.with_options(http_client=openai.DefaultHttpxClient(transport=transport))
    job = lossy.videos.create(**SMALL, extra_body={"seed": 77})
    assert transport.lost, "no answer was lost"
    made = {job.id for job in client.videos.list()} - before
    same(made, {job.id}, "jobs of a create that the client repeated")


def keeps_metadata():
    job = client.videos.create(**SMALL, extra_body={"metadata": {"shot": "3"}, "user": "a"})
    same((job.metadata, job.user), ({"shot": "3"}, "a"), "the client's own data")


def downloads():
    job = client.videos.create_and_poll(**SMALL)
    clip = client.videos.download_content(job.id).read()
    same((clip[4:8], len(clip)), (b"ftyp", job.file["bytes"]), "the clip")
    same(hashlib.sha256(clip).hexdigest(), job.file["sha256"], "the clip's hash")
    with client.videos.with_streaming_response.download_content(job.id) as streamed:
        same(b"".join(streamed.iter_bytes(1000)), clip, "the clip in pieces")
        same(streamed.headers["content-type"], "video/mp4", "the clip's type")
    picture = client.videos.download_content(job.id, variant="thumbnail")
    same((picture.read()[8:12], picture.response.headers["content-type"]), (b"WEBP", "image/webp"), "the thumbnail")
    unknown = lambda: client.videos.download_content(job.id, variant="spritesheet")
    refused(openai.BadRequestError, unknown, "invalid_value", "variant", "video, preview or thumbnail")
    # Links are opened without the client and its key.
    address = job.file["url"]
    same(httpx2.get(address).content, clip, "the clip by its link")
    for header, status, expected in [
        ("bytes=0-99", 206, clip[:100]),
        ("bytes=100-", 206, clip[100:]),
        ("bytes=-10", 206, clip[-10:]),
        (f"bytes={len(clip)}-", 416, b""),
    ]:
        part = httpx2.get(address, headers={"Range": header})
        same((part.status_code, part.content), (status, expected), header)
        assert f"/{len(clip)}" in part.headers["content-range"], part.headers
    tag = httpx2.head(address).headers["etag"]
    same(httpx2.get(address, headers={"If-None-Match": tag}).status_code, 304, "a clip that is there already")


def lists():
    made = [client.videos.create(**SMALL).id for _ in range(5)]
    pages = list(client.videos.list(limit=2).iter_pages())
    ids = [job.id for page in pages for job in page.data]
    same(ids[:5], made[::-1], "newest first, over pages")
    assert len(ids) == len(set(ids)), f"some twice: {ids}"
    assert all(len(page.data) == 2 for page in pages[:-1]), [len(page.data) for page in pages]
    same([job.id for job in client.videos.list(limit=2, order="asc")], ids[::-1], "oldest first, over pages")
    for id in made:
        same(client.videos.poll(id).status, "completed", id)
    client.videos.delete(made[2])
    after = client.videos.list(limit=1, after=made[2])
    same([job.id for job in after.data], [made[1]], "behind a deleted one")


def cancels():
    running = client.videos.create(**{**SMALL, **LONG})
    download = lambda: client.videos.download_content(running.id)
    error = refused(openai.ConflictError, download, "not_ready", None, "not made yet")
    same(error.response.headers["x-should-retry"], "false", "a clip that is not ready")
    cancelled = client.post(f"/videos/{running.id}/cancel", cast_to=Video)
    cancelled = client.videos.poll(cancelled.id)
    same((cancelled.status, cancelled.error.code), ("failed", "cancelled"), "a cancelled job")
    assert cancelled.error.message, cancelled
    refused(openai.ConflictError, download, "not_ready", None, "cancelled")


def deletes():
    running = client.videos.create(**{**SMALL, **LONG})
    deleted = client.videos.delete(running.id)
    same((deleted.id, deleted.object, deleted.deleted), (running.id, "video.deleted", True), "a deleted job")
    for call in (client.videos.retrieve, client.videos.delete, client.videos.download_content):
        refused(openai.NotFoundError, lambda: call(running.id), "not_found", None, running.id)


def refuses():
    bad("unknown_field", "secnods", "did you mean `seconds`?", extra_body={"secnods": 4})
    bad("unknown_field", "input_refrence", "did you mean `input_reference`?", extra_body={"input_refrence": "x"})
    bad("invalid_value", "seconds", "must be a number; given NaN", seconds="NaN")
    bad("invalid_value", "seconds", "must be 0.04 to 10; given 0", seconds="0")
    bad("invalid_size", "size", "size", size="1x1")
    bad("invalid_size", "size", "size", size="large")
    bad("invalid_value", "seed", "-1 for a random one", extra_body={"seed": -2})
    bad("invalid_prompt", "prompt", "missing or empty", prompt=" ")
    bad("invalid_image", "input_reference", "expected a PNG, JPEG or WebP", input_reference=b"no picture")


def refuses_what_is_impossible():
    def impossible(param, words, value):
        call = lambda: client.videos.create(**SMALL, extra_body={param: value})
        refused(openai.UnprocessableEntityError, call, "unsupported_feature", param, words)

    impossible("input_reference", "fetches nothing", {"image_url": "https://example.com/a.png"})
    impossible("lora", "LoRA", {"name": "x"})


def refuses_other_calls():
    refused(openai.NotFoundError, lambda: client.videos.retrieve("video_123"), "not_found", None, "video_123")
    for call in (
        lambda: client.videos.remix("video_123", prompt="a"),
        lambda: client.videos.edit(prompt="a", video=b"a"),
        lambda: client.videos.extend(prompt="a", seconds="4", video=b"a"),
        lambda: client.videos.create_character(name="a", video=b"a"),
        lambda: client.videos.get_character("char_123"),
    ):
        refused(openai.NotFoundError, call, "not_found", None, "not supported by the model")


def refuses_what_is_too_long():
    large = lambda: client.videos.create(**SMALL, input_reference=bytes(65 << 20))
    refused(openai.APIStatusError, large, "too_large", None, "64 MiB", 413)


def keeps_out():
    for key in ("wrong", KEY + "x"):
        stranger = limited.with_options(api_key=key)
        refused(openai.AuthenticationError, stranger.videos.list, "invalid_api_key", None, "key")
    jobs = [limited.videos.create(**{**SMALL, **LONG})]
    while limited.videos.retrieve(jobs[0].id).status == "queued":
        time.sleep(0.05)
    jobs += [limited.videos.create(**SMALL) for _ in range(2)]
    same([limited.videos.retrieve(job.id).queue_position for job in jobs[1:]], [1, 2], "places in the queue")
    create = lambda: limited.videos.create(**SMALL)
    error = refused(openai.RateLimitError, create, "queue_full", None, "2 jobs are waiting")
    assert 1 <= int(error.response.headers["retry-after"]) <= 120, error.response.headers

    # A repeated create is a new job if the first was refused, although an earlier one asked for the same.
    def make_room(answer):
        if answer.status_code == 429:
            limited.videos.delete(jobs.pop().id)
            answer.headers["retry-after-ms"] = "1"

    http = openai.DefaultHttpxClient(event_hooks={"response": [make_room]})
    job = limited.with_options(max_retries=1, http_client=http).videos.create(**SMALL)
    assert len(jobs) == 2 and job.id not in [job.id for job in jobs], f"{job.id} is not new"
    for made in [*jobs, job]:
        limited.videos.delete(made.id)


def names_its_model():
    models = client.models.list().data
    same([type(models[0].id), models[0].object], [str, "model"], "the first model")
    same(client.models.retrieve(models[0].id).id, models[0].id, "the model by its name")


CHECKS = (
    names_its_model,
    creates,
    creates_with_a_picture,
    repeats_what_was_lost,
    keeps_metadata,
    downloads,
    lists,
    cancels,
    deletes,
    refuses,
    refuses_what_is_impossible,
    refuses_other_calls,
    refuses_what_is_too_long,
    keeps_out,
)
failed = 0
for check in CHECKS:
    try:
        check()
    except Exception as error:
        failed = 1
        print(f"{check.__name__}: {type(error).__name__}: {error}")
sys.exit(failed)
