"""The dashscope package against a server: URL of an open one; URL and key of one that has keys and takes two waiting
jobs; a picture."""

import sys
import time
import urllib.request

import dashscope
from dashscope import VideoSynthesis

URL, LIMITED, KEY, PICTURE = sys.argv[1:]
SMALL = {"model": "happyhorse-1.0-t2v", "prompt": "A red ball bounces", "size": "32*32", "duration": 1, "seed": 7}


def same(found, expected, what):
    assert found == expected, f"{what}: expected {expected!r}, found {found!r}"


def use(url, key):
    dashscope.base_http_api_url = url + "/api/v1"
    dashscope.api_key = key


def end(task, state):
    # The package's own wait looks every few seconds.
    for _ in range(600):
        answer = VideoSynthesis.fetch(task)
        same(answer.status_code, 200, "an answer about a task")
        if answer.output.task_status not in ("PENDING", "RUNNING"):
            same(answer.output.task_status, state, f"the end of {answer}")
            return answer
        time.sleep(0.1)
    raise AssertionError(f"no end: {answer}")


def clip(answer):
    with urllib.request.urlopen(answer.output.video_url) as file:
        content = file.read()
    same(content[4:8], b"ftyp", "the clip")
    return content


def refused(answer, status, code, words):
    same((answer.status_code, answer.code), (status, code), f"the refusal {answer}")
    assert words in answer.message, f"{words!r} is not in {answer.message!r}"


def makes():
    task = VideoSynthesis.async_call(**SMALL)
    same((task.status_code, task.output.task_status), (200, "PENDING"), f"a new task: {task}")
    done = VideoSynthesis.wait(task)
    same((done.output.task_status, done.output.orig_prompt), ("SUCCEEDED", SMALL["prompt"]), f"its end: {done}")
    same((done.usage.duration, done.usage["SR"], done.usage["size"]), (1, 32, "32*32"), f"its usage: {done}")
    return clip(done)


def uploads(plain):
    made = []
    for picture in ({"img_url": PICTURE}, {"media": [{"type": "first_frame", "url": "file://" + PICTURE}]}):
        made.append(clip(end(VideoSynthesis.async_call(**SMALL, **picture), "SUCCEEDED")))
    same(made[0] == made[1], True, "one picture, one clip")
    same(made[0] == plain, False, "the picture is seen")
    # Another route.
    frames = {**SMALL, "model": "wanx2.1-kf2v-plus", "first_frame_url": PICTURE}
    same(VideoSynthesis.async_call(**frames).output.task_status, "PENDING", "a task by the other route")


def lists():
    page = VideoSynthesis.list(page_size=1, status="SUCCEEDED").output
    same((len(page["data"]), page["total"], page["page_no"]), (1, page["total_page"], 1), "a page")
    same(page["data"][0]["task_status"], "SUCCEEDED", "its row")
    refused(VideoSynthesis.list(status="done"), 400, "InvalidParameter", "`status` must be PENDING")


def cancels():
    task = VideoSynthesis.async_call(**{**SMALL, "size": "448*256", "duration": 10})
    same(VideoSynthesis.cancel(task).status_code, 200, "cancelling")
    end(task, "CANCELED")
    refused(VideoSynthesis.cancel(task), 400, "UnsupportedOperation", "has ended")
    unknown = VideoSynthesis.fetch("00000000-0000-0000-0000-000000000000")
    same(unknown.output.task_status, "UNKNOWN", "a task that there is not")


def refuses():
    for fields, words in (
        ({"sead": 1}, "`sead` is no parameter; did you mean `seed`?"),
        ({"size": "1*1"}, "32x32"),
        ({"prompt": " "}, "missing or empty"),
        ({"img_url": "/nowhere/a.png"}, "`img_url` is not a URL: /nowhere/a.png"),
        ({"img_url": "https://example.com/a.png"}, "fetches nothing"),
        ({"last_frame_url": PICTURE}, "a first frame alone"),
    ):
        refused(VideoSynthesis.async_call(**{**SMALL, **fields}), 400, "InvalidParameter", words)
    use(LIMITED, "wrong")
    refused(VideoSynthesis.async_call(**SMALL), 401, "InvalidApiKey", "the key is not one")
    use(LIMITED, KEY)
    same(VideoSynthesis.list().status_code, 200, "a call with a key")


use(URL, "none")
plain = makes()
uploads(plain)
lists()
cancels()
refuses()
