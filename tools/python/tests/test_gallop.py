"""The Python package with the built-in miniature on the CPU: `python -m unittest discover tools/python/tests`."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path

import gallop
from gallop import library

try:
    import numpy
except ImportError:
    numpy = None

ROOT = Path(__file__).resolve().parents[3]
HEADER = ROOT / "src" / "ffi" / "gallop.h"
SMALL = {"size": (32, 32), "seconds": 0.2, "seed": 7}


def small_engine():
    return gallop.Engine(device="cpu")


class Clips(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with small_engine() as engine:
            cls.clip = engine.generate("A red ball bounces", **SMALL)

    def test_a_clip_is_an_mp4_with_a_report(self):
        self.assertEqual(self.clip.mp4[4:8], b"ftyp")
        report = self.clip.report
        self.assertEqual((report["size"], report["seed"], report["frames"]), ("32x32", 7, 5))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clip.mp4"
            self.clip.save(path)
            self.assertEqual(path.read_bytes(), self.clip.mp4)

    @unittest.skipIf(numpy is None, "there is no numpy")
    def test_frames_and_sound_are_arrays(self):
        frames = self.clip.frames()
        self.assertEqual((frames.shape, frames.dtype), ((5, 32, 32, 3), "uint8"))
        self.assertGreater(frames.std(), 1)
        audio, rate = self.clip.audio()
        self.assertEqual((audio.shape, audio.dtype, rate), ((5 * 1764, 2), "float32", 44100))
        self.assertGreater(abs(audio).max(), 0)

    @unittest.skipIf(numpy is None, "there is no numpy")
    def test_a_clip_may_have_no_sound(self):
        with small_engine() as engine:
            clip = engine.generate("A red ball bounces", generate_audio=False, **SMALL)
        self.assertEqual(clip.audio()[0].shape, (0, 2))
        self.assertTrue((clip.frames() == self.clip.frames()).all())

    @unittest.skipIf(numpy is None, "there is no numpy")
    def test_pictures_and_sounds_are_checked(self):
        with small_engine() as engine:
            for image, problem in [
                (numpy.zeros((4, 4), "uint8"), "`image` must be uint8"),
                (numpy.zeros((4, 4, 3)), "found float64"),
                # The miniature that is built in knows neither.
                (numpy.zeros((4, 4, 3), "uint8"), "input_reference"),
            ]:
                with self.assertRaisesRegex(gallop.Error, problem):
                    engine.generate("A red ball", image=image, **SMALL)
            with self.assertRaisesRegex(gallop.Error, "audio_channels"):
                engine.generate("A red ball", audio=(numpy.zeros((9, 3)), 8000), **SMALL)


class Readme(unittest.TestCase):
    def test_its_example_makes_a_clip(self):
        text = (ROOT / "README.md").read_text()
        section = re.search(r"^## As a library$(.*?)^## ", text, re.DOTALL | re.MULTILINE).group(1)
        (code,) = re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, stdout=subprocess.DEVNULL)
            self.assertEqual((Path(folder) / "clip.mp4").read_bytes()[4:8], b"ftyp")


class Jobs(unittest.TestCase):
    def setUp(self):
        self.engine = small_engine()
        self.addCleanup(self.engine.close)

    def test_progress_is_heard_and_ends_at_a_hundred(self):
        heard = []
        with self.engine.submit("A red ball bounces", progress=heard.append, **SMALL) as job:
            self.assertTrue(job.wait())
            self.assertEqual(job.progress[::4], ("completed", 100))
            self.assertEqual(job.clip().mp4[4:8], b"ftyp")
        percents = [state.progress for state in heard]
        self.assertGreater(len(set(percents)), 3)
        self.assertEqual(percents, sorted(percents))
        self.assertEqual({state.status for state in heard}, {"running"})
        self.assertIn("base", {state.stage for state in heard})

    def test_a_callback_cancels(self):
        with self.assertRaises(gallop.Cancelled):
            self.engine.generate("A red ball", progress=lambda state: state.stage == "base", **SMALL)

    def test_what_a_callback_raises_is_raised(self):
        def hear(state):
            raise KeyError("mine")

        with self.assertRaisesRegex(KeyError, "mine"):
            self.engine.generate("A red ball", progress=hear, **SMALL)

    def test_another_thread_cancels(self):
        job = self.engine.submit("A red ball", size=(32, 32), seconds=10)
        self.assertFalse(job.wait(0))
        with self.assertRaises(gallop.NotReady):
            job.clip()
        threading.Thread(target=job.cancel).start()
        with self.assertRaises(gallop.Cancelled):
            job.wait(60)
        job.close()
        job.close()
        with self.assertRaisesRegex(gallop.InvalidArgument, "closed"):
            job.cancel()

    def test_jobs_end_with_their_engine(self):
        jobs = [self.engine.submit("A red ball", size=(32, 32), seconds=10) for _ in range(2)]
        self.engine.close()
        for job in jobs:
            with self.assertRaises(gallop.Cancelled):
                job.wait(0)
        with self.assertRaisesRegex(gallop.InvalidArgument, "closed"):
            self.engine.submit("A red ball")

    def test_ctrl_c_cancels(self):
        code = (
            "import gallop\n"
            "gallop.Engine(device='cpu').generate('A red ball', size=(256, 256), seconds=10,\n"
            "    progress=lambda state: print(state.stage, flush=True))\n"
        )
        child = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        child.stdout.readline()
        child.send_signal(signal.SIGINT)
        _, text = child.communicate(timeout=60)
        self.assertTrue(text.rstrip().endswith("KeyboardInterrupt"), text)


class Requests(unittest.TestCase):
    def test_a_plan_says_what_would_be_made(self):
        with small_engine() as engine:
            plan = engine.plan("A red ball", size="100x70", seconds=1, scale=2)
            self.assertEqual((plan["size"], plan["frames"]), ("192x128", 25))
            self.assertIn("size_rounded", {warning["code"] for warning in plan["warnings"]})
            self.assertIn("base", {stage["stage"] for stage in plan["stages"]})
            info = engine.info
        self.assertEqual((info["device"], info["version"]), ("cpu", gallop.version()))

    def test_failures_are_exceptions_with_the_sentence_of_the_library(self):
        with self.assertRaisesRegex(gallop.NotInstalled, "no/such/folder"):
            gallop.Engine("no/such/folder")
        with self.assertRaisesRegex(ValueError, "`devise` is no option"):
            gallop.Engine(devise="cpu")
        with small_engine() as engine:
            with self.assertRaisesRegex(gallop.InvalidArgument, "did you mean `seed`"):
                engine.submit("A red ball", sede=1)
            with self.assertRaisesRegex(gallop.InvalidArgument, "zero"):
                engine.submit("A red\0ball")
            with self.assertRaisesRegex(gallop.InvalidArgument, "`prompt`"):
                engine.submit(" ")

    def test_structures_and_functions_are_those_of_the_header(self):
        header = HEADER.read_text()
        code = re.sub(r"//.*", "", header)
        for name, own in [
            ("GallopRequest", library.Request),
            ("GallopJobState", library.JobState),
            ("GallopFrames", library.Frames),
            ("GallopAudio", library.Audio),
        ]:
            body = re.search(rf"typedef struct {name} {{(.*?)}}", code, re.DOTALL).group(1)
            fields = re.findall(r"(\w+);", body)
            self.assertEqual(fields, [field[0] for field in own._fields_], name)
        self.assertEqual(set(re.findall(r"\b(gallop_\w+)\(", code)), set(library.FUNCTIONS))

    def test_a_library_that_is_none_is_said(self):
        for path, problem in [("no/such.so", "cannot be opened"), (os.devnull, "cannot be opened")]:
            child = subprocess.run(
                [sys.executable, "-c", "import gallop"],
                env={**os.environ, "GALLOP_LIBRARY": path},
                stderr=subprocess.PIPE,
                text=True,
            )
            self.assertIn(problem, child.stderr)


if __name__ == "__main__":
    unittest.main()
