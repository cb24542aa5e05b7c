"""The compiled kernels, which pyproject.toml has no stable way to name: all else is there."""

from glob import glob

from setuptools import Extension, setup

NATIVE = "chainrule/kernels/native"

setup(
    ext_modules=[
        Extension(
            "chainrule.kernels._native",
            sorted(glob(f"{NATIVE}/*.c")),  # noqa: PTH207
            depends=sorted(glob(f"{NATIVE}/*.h")),  # noqa: PTH207
            # Never -ffast-math: at link it changes the arithmetic of the whole process.
            extra_compile_args=[
                "-std=gnu11",
                "-O3",
                "-g0",
                "-fno-math-errno",
                "-fno-trapping-math",
                "-Wno-psabi",
            ],
            optional=True,  # without a compiler the same kernels run in numpy
        )
    ]
)
