"""The build of the extension module; everything else is in pyproject.toml.

Switches, all off unless set to something other than "" and "0" in the environment:

CLOOP_DEBUG        no optimisation, assertions, the system-call fault table
CLOOP_SANITIZE     AddressSanitizer and UBSan ("thread": ThreadSanitizer)
CLOOP_WERROR       warnings are errors
CLOOP_NO_FREELIST  every object is freed, none kept for reuse
CLOOP_NO_FASTPATH  every shortcut off

CFLAGS, when set, brings its own optimisation; assertions stay in then.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).resolve().parent
SWITCHES = (
    "CLOOP_DEBUG",
    "CLOOP_SANITIZE",
    "CLOOP_WERROR",
    "CLOOP_NO_FREELIST",
    "CLOOP_NO_FASTPATH",
)


def switch(name):
    value = os.environ.get(name, "")
    return "" if value == "0" else value


def files(pattern):
    return sorted(str(p.relative_to(HERE)) for p in (HERE / "src").rglob(pattern))


def compile_args():
    args = ["-std=c11", "-D_GNU_SOURCE", "-fvisibility=hidden", "-Wall", "-Wextra"]
    if switch("CLOOP_WERROR"):
        args.append("-Werror")
    for name in ("CLOOP_DEBUG", "CLOOP_NO_FREELIST", "CLOOP_NO_FASTPATH"):
        if switch(name):
            args.append("-D" + name)
    if switch("CLOOP_DEBUG") or switch("CLOOP_SANITIZE"):
        # Python's own flags define NDEBUG, and perhaps _FORTIFY_SOURCE.
        args += ["-UNDEBUG", "-U_FORTIFY_SOURCE", "-g", "-fno-omit-frame-pointer"]
    if switch("CLOOP_SANITIZE"):
        args += ["-O1", *sanitize_args(), "-fno-sanitize-recover=all"]
    elif switch("CLOOP_DEBUG"):
        args.append("-O0")
    elif "CFLAGS" not in os.environ:
        args += ["-O3", "-DNDEBUG"]
    return args


def sanitize_args():
    kind = "thread" if switch("CLOOP_SANITIZE") == "thread" else "address,undefined"
    return ["-fsanitize=" + kind]


def link_args():
    args = ["-Wl,-z,relro,-z,now"]
    if switch("CLOOP_SANITIZE"):
        args += sanitize_args()
    return args


class BuildExt(build_ext):
    """Compiles files side by side, and anew when the switches differ from last time."""

    def build_extensions(self):
        wanted = " ".join(f"{name}={switch(name)}" for name in SWITCHES)
        wanted += " CFLAGS=" + os.environ.get("CFLAGS", "")
        stamp = Path(self.build_temp) / "switches"
        if not stamp.exists() or stamp.read_text() != wanted:
            self.force = True
        compile_serially = self.compiler.compile

        def compile_in_parallel(sources, *args, **kwargs):
            with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
                parts = pool.map(
                    lambda source: compile_serially([source], *args, **kwargs), sources
                )
                return [obj for part in parts for obj in part]

        self.compiler.compile = compile_in_parallel
        super().build_extensions()
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(wanted)


# The license stands here because the spelling that setuptools 77 wants in
# pyproject.toml is refused by 75, the last one for Python 3.8.
setup(
    license="MIT",
    ext_modules=[
        Extension(
            "cloop._cloop",
            sources=files("*.c"),
            depends=[*files("*.h"), "setup.py"],
            extra_compile_args=compile_args(),
            extra_link_args=link_args(),
        )
    ],
    cmdclass={"build_ext": BuildExt},
)
