"""The files that a program has mapped once it runs: itself and the shared libraries that it needs."""
import glob
import os
import re
import subprocess


def closure(path):
    """The file and the shared libraries that the loader would map for it."""
    out = subprocess.run(["ldd", path], capture_output=True, text=True).stdout
    found = re.findall(r"(/\S+) \(0x", out)
    return sorted({os.path.realpath(p) for p in [path] + found if os.path.exists(p)})


def torch_package(python):
    """The folder of a python's PyTorch."""
    out = subprocess.run([python, "-c", "import torch; print(torch.__file__)"], capture_output=True, text=True)
    return os.path.dirname(out.stdout.strip())


def torch_libraries(python):
    """What `import torch` maps: its module in C++ and all that this one needs."""
    return closure(glob.glob(os.path.join(torch_package(python), "_C*.so"))[0])


def megabytes(paths):
    return sum(os.path.getsize(p) for p in paths) / 1e6


def forget(paths):
    """Drop the files' pages from the system's cache; those that a running program maps stay."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
