"""A `triton` module that can be imported and cannot run.

SGLang defines its kernels with triton at import time and never calls one on a CPU. The real package works too, but takes
1 GB of disk and 100 MB of memory in each process.
"""

import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


def install() -> None:
    """Serve the stub to every later `import triton` of this process."""
    sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder, Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != "triton":
            return None
        return ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        if module.__name__ == "triton":
            module.__dict__.update(
                __version__="3.9.0",
                cdiv=lambda a, b: -(-a // b),
                next_power_of_2=lambda n: 1 << (max(n, 1) - 1).bit_length(),
            )


class _Module(ModuleType):
    """Any attribute exists: a class if its name is capitalized, else something that decorates."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        value = type(name, (_Base,), {}) if name[0].isupper() else _Decorator()
        setattr(self, name, value)
        return value


class _Base:
    """Stands for `triton.Config(...)` and for base classes."""

    def __init__(self, *args: object, **kwargs: object) -> None: ...


class _Decorator:
    """Stands for `triton.jit`, bare or with options, and for names used as annotations."""

    def __call__(self, *args: object, **kwargs: object) -> object:
        if len(args) == 1 and not kwargs and callable(args[0]):
            return _Kernel(args[0])
        return _Kernel

    def __getattr__(self, name: str) -> "_Decorator":
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __getitem__(self, key: object) -> "_Decorator":
        return self

    def __or__(self, other: object) -> "_Decorator":
        return self

    __ror__ = __or__


class _Kernel:
    """A decorated kernel; `fn` is where SGLang looks for the undecorated function."""

    def __init__(self, fn: Callable[..., object]) -> None:
        self.fn = getattr(fn, "fn", fn)
        self.__name__ = getattr(fn, "__name__", "kernel")

    def __getitem__(self, grid: object) -> "_Kernel":
        return self

    def __call__(self, *args: object, **kwargs: object) -> object:
        raise RuntimeError(f"triton kernel {self.__name__} was called on a machine without a GPU")
