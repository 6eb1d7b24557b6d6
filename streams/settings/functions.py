"""A person's own Python function, named in `pipeline.toml` as `package.module:function`."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_NAME = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


class FunctionError(ValueError):
    """The function cannot be used; `str()` says why, `remedy` what to do. Seen when the file is read."""

    def __init__(self, what: str, remedy: str) -> None:
        self.remedy = remedy
        super().__init__(what)


def find(name: str, folder: Path | None = None) -> Callable[[Any], Any]:
    """Import and return the function; `folder`, that of pipeline.toml, is searched too.

    Raises:
        FunctionError: there is no such function, its module cannot be imported, or it does not take one argument.
    """
    if not _NAME.fullmatch(name):
        raise FunctionError(f"is {name!r}", 'Write "package.module:function".')
    if folder is not None and (place := str(folder.resolve())) not in sys.path:
        sys.path.append(place)
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        remedy = "Put the module beside this file or into the worker's environment, and correct what it complains of."
        raise FunctionError(f"names the module {module_name}, which cannot be imported ({why})", remedy) from None
    function = getattr(module, attribute, None)
    if function is None:
        there = [one for one, value in vars(module).items() if inspect.isfunction(value) and not one.startswith("_")]
        remedy = f"It has {', '.join(there)}." if there else "Define it there."
        raise FunctionError(f"names {attribute}, which the module {module_name} does not have", remedy)
    _check(function)
    found: Callable[[Any], Any] = function
    return found


def _check(function: Any) -> None:
    remedy = "Write a plain function of one argument that returns a text or None."
    if not callable(function) or inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise FunctionError("is no plain function", remedy)
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        raise FunctionError("does not take exactly one argument", remedy) from None
    except ValueError:
        return  # a function of C tells nothing about its arguments


def digest(name: str) -> str:
    """Return 16 hex digits that change with the module of a function that was found; "" for one without a source."""
    source = getattr(sys.modules[name.partition(":")[0]], "__file__", None)
    return hashlib.sha256(Path(source).read_bytes()).hexdigest()[:16] if source else ""
