"""Makes the wheel for pip, with Python's own modules alone: the package, and the library if it has been built."""

import base64
import hashlib
import os
import re
import sysconfig
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
# What `cargo build --release` leaves, and its name beside the package.
LIBRARY = HERE.parents[1] / "target" / "release" / "libgallop.so"


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """The hook of PEP 517; returns the name of the wheel."""
    project = (HERE / "pyproject.toml").read_text()
    value = lambda key: re.search(rf'^{key} = "(.*)"$', project, re.MULTILINE).group(1)
    version = value("version")
    built = Path(os.environ.get("GALLOP_LIBRARY") or LIBRARY)
    tag = "py3-none-any"
    files = {f"gallop/{path.name}": path.read_bytes() for path in sorted((HERE / "gallop").glob("*.py*"))}
    if built.is_file():
        tag = "py3-none-" + re.sub(r"[-.]", "_", sysconfig.get_platform())
        files["gallop/libgallop.so"] = built.read_bytes()
    info = f"gallop-{version}.dist-info"
    files[f"{info}/METADATA"] = (
        "Metadata-Version: 2.1\nName: gallop\n"
        f"Version: {version}\nSummary: {value('description')}\nLicense: {value('license')}\n"
        f"Requires-Python: {value('requires-python')}\n"
        'Provides-Extra: arrays\nRequires-Dist: numpy; extra == "arrays"\n'
    ).encode()
    pure = "true" if tag.endswith("any") else "false"
    files[f"{info}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: gallop\nRoot-Is-Purelib: {pure}\nTag: {tag}\n".encode()
    )
    rows = [f"{name},sha256={_digest(content)},{len(content)}\n" for name, content in files.items()]
    files[f"{info}/RECORD"] = "".join([*rows, f"{info}/RECORD,,\n"]).encode()
    wheel = f"gallop-{version}-{tag}.whl"
    with zipfile.ZipFile(Path(wheel_directory) / wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return wheel


def _digest(content):
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
