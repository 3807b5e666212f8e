"""How `pip install .` makes the wheel (PEP 517), with no packages of its own.

The library is built by CMake from the sources around this folder, or taken from MICA_LIBRARY
(a libmica.so) where that is set, and put beside the Python files.
"""
import base64
import hashlib
import os
import re
import shutil
import subprocess
import sysconfig
import tempfile
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)


def _project():
    with open(os.path.join(HERE, "pyproject.toml"), encoding="utf-8") as f:
        text = f.read()
    field = lambda name: re.search(rf'^{name} = "(.*)"', text, re.M).group(1)
    needs = re.search(r"^dependencies = \[(.*)\]", text, re.M).group(1)
    return field, re.findall(r'"([^"]*)"', needs)


def _tag():
    platform = re.sub(r"[-.]", "_", sysconfig.get_platform())
    return f"py3-none-{platform}"


def _names():
    field, _ = _project()
    base = f"{field('name')}-{field('version')}"
    return base, f"{base}.dist-info", f"{base}-{_tag()}.whl"


def _metadata():
    field, needs = _project()
    lines = ["Metadata-Version: 2.1", f"Name: {field('name')}", f"Version: {field('version')}",
             f"Summary: {field('description')}", f"Requires-Python: {field('requires-python')}"]
    return "\n".join(lines + [f"Requires-Dist: {n}" for n in needs]) + "\n"


def _wheel_text(purelib):
    return ("Wheel-Version: 1.0\nGenerator: mica\n"
            f"Root-Is-Purelib: {'true' if purelib else 'false'}\nTag: {_tag()}\n")


def _build_library(folder):
    given = os.environ.get("MICA_LIBRARY")
    if given:
        return given
    if not os.path.exists(os.path.join(ROOT, "CMakeLists.txt")):
        raise RuntimeError("the sources of the library are not beside this folder: "
                           "set MICA_LIBRARY to a libmica.so")
    subprocess.check_call(["cmake", "-S", ROOT, "-B", folder, "-DCMAKE_BUILD_TYPE=Release",
                           "-DMICA_TESTS=OFF"])
    subprocess.check_call(["cmake", "--build", folder, "--target", "mica", "-j",
                           str(os.cpu_count() or 1)])
    return os.path.join(folder, "libmica.so")


def _write(wheel, files):
    """Files [(name in the wheel, bytes)] with the record of all of them."""
    _, info, _ = _names()
    record = []
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as z:
        for name, data in files:
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{name},sha256={digest},{len(data)}")
            entry = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            z.writestr(entry, data)
        z.writestr(f"{info}/RECORD", "\n".join(record + [f"{info}/RECORD,,"]) + "\n")


def _read(path):
    with open(path, "rb") as f:
        return f.read()


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    _, info, name = _names()
    work = tempfile.mkdtemp()
    try:
        files = [("mica/libmica.so.0", _read(os.path.realpath(_build_library(work))))]
    finally:
        shutil.rmtree(work, ignore_errors=True)
    package = os.path.join(HERE, "mica")
    for file in sorted(os.listdir(package)):
        if file.endswith((".py", ".pyi")) or file == "py.typed":
            files.append((f"mica/{file}", _read(os.path.join(package, file))))
    files.append((f"{info}/METADATA", _metadata().encode()))
    files.append((f"{info}/WHEEL", _wheel_text(False).encode()))
    _write(os.path.join(wheel_directory, name), files)
    return name


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """The package stays where it is; the library is found by MICA_LIBRARY or the system."""
    base, info, name = _names()
    files = [(f"{base}.pth", (HERE + "\n").encode()), (f"{info}/METADATA", _metadata().encode()),
             (f"{info}/WHEEL", _wheel_text(False).encode())]
    _write(os.path.join(wheel_directory, name), files)
    return name


def get_requires_for_build_wheel(config_settings=None):
    return []


def get_requires_for_build_editable(config_settings=None):
    return []


def build_sdist(sdist_directory, config_settings=None):
    raise RuntimeError("build the wheel from the repository: its sources are not in python/ alone")
