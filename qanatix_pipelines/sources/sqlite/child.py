"""The program of the child process in which SQLite computes.

It begins in some 50 ms, because it loads the standard library alone. Our packages' `__init__` load much more, so here
the packages only have their names and their folders.
"""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType


def main() -> None:
    name, folder = "qanatix_pipelines.sources.sqlite", Path(__file__).resolve().parent
    reader = f"{name}.answer"
    while name:
        package = sys.modules[name] = ModuleType(name)
        package.__path__ = [str(folder)]
        name, folder = name.rpartition(".")[0], folder.parent
    import_module(reader).main()


if __name__ == "__main__":
    main()
