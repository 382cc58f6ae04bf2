"""Maps functions to the names that tasks store, and stored names to functions.

A function is named ``module:qualname``. Whether it is module-level is decided by identity: looking up the name must
return the very function. Others (nested functions, lambdas, closures) are stored serialised. A name from a row is
looked up in modules of the application only, and never causes an import.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import os
import pathlib
import sys
import sysconfig
import types
import weakref
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from . import _core, _hints, _signatures
from ._options import OPTIONS, alike
from .errors import FunctionRefused

__all__ = [
    "DECORATED",
    "FUNCTIONS",
    "Declared",
    "Functions",
    "TaskClass",
    "check_call",
    "identify",
    "is_task_class",
    "is_task_object",
    "kind_given",
    "leads_to",
    "main_module",
    "name_in",
    "own_kind",
    "refuse",
    "shape",
    "unwrap",
]


class Identity(NamedTuple):
    """The name of a function."""

    kind: str
    #: Whether it can be found by its name; otherwise it is stored serialised.
    is_global: bool


class Shape(NamedTuple):
    """The parts of a function's signature that a call is checked against."""

    signature: inspect.Signature | None
    names: tuple[str, ...]
    #: Parameters that the worker injects.
    injected: frozenset[str]
    #: Range of the number of positional arguments of a call without keywords.
    least: int
    most: int
    #: The name of its ``**data`` parameter, which takes keywords of any name.
    further: str | None = None


class Declared:
    """A function that ``@task`` declares, with the options of its tasks.

    Only objects of this class are declared: ``functools.wraps`` copies attributes from a function to its wrapper, so
    that an attribute could not mark one.
    """

    function: Callable[..., Any]
    options: dict[str, Any]
    _unfilled: tuple[tuple[int, str], ...] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._unfilled is None:
            from ._resolve import unfilled

            self._unfilled = unfilled(self.function)
        for place, name in self._unfilled:
            if name not in kwargs and place >= len(args):
                raise TypeError(
                    f"{self.function.__qualname__}: a direct call gives `{name}` itself, which only a worker injects"
                )
        return self.function(*args, **kwargs)


class TaskClass:
    """The base of all task classes."""

    __slots__ = ()


_main_name: str | None = None


def main_module() -> str | None:
    """Returns the name under which a worker can import the ``__main__`` module; None if there is none."""
    global _main_name
    if _main_name is None:
        main = sys.modules.get("__main__")
        spec = getattr(main, "__spec__", None)
        file = getattr(main, "__file__", None)
        if spec is not None and spec.name not in ("__main__", ""):
            _main_name = spec.name.removesuffix(".__main__")
        elif file is not None:
            path = pathlib.Path(file).resolve()
            for root in (pathlib.Path.cwd(), path.parent):
                if path.is_relative_to(root) and path.suffix == ".py":
                    _main_name = ".".join(path.relative_to(root).with_suffix("").parts)
                    break
    return _main_name


def _walk(module: Any, qualname: str) -> Any:
    return unwrap(_stands(module, qualname))


def _stands(module: Any, qualname: str) -> Any:
    """Returns the attribute that a qualified name of a module refers to, without unwrapping it; None if there is none."""
    found = module
    for part in qualname.split("."):
        found = getattr(found, "__dict__", {}).get(part)
        # Class methods are not unwrapped: a caller does not pass their class.
        if isinstance(found, staticmethod):
            found = found.__func__
    return found


def leads_to(found: Any, declared: Any) -> bool:
    """Whether ``found`` is the declared function, or wraps it as ``functools.wraps`` does.

    Decided by identity: a wrapper has the name of the function that it wraps, so that names cannot decide.
    """
    for _ in range(_signatures.WRAPPERS_MAX):
        if found is declared:
            return True
        if issubclass(type(found), Declared):
            # Another object of the same function, with other options (`using`).
            if isinstance(declared, Declared) and found.function is declared.function:
                return True
            if not issubclass(type(found.function), Declared):
                return False
            found = found.function
            continue
        found = getattr(found, "__wrapped__", None)
        if found is None:
            return False
    return False


def unwrap(function: Any) -> Any:
    """Returns the plain function of a ``@task`` object, and anything else unchanged: wrappers around such an object,
    and objects of a subclass that defines ``__call__``."""
    cls = type(function)
    return function.function if issubclass(cls, Declared) and cls.__call__ is Declared.__call__ else function


def is_task_class(value: Any) -> bool:
    """Whether a value is a task class (a subclass of ``taskyard.tasks.Task``), which is a kind as functions are."""
    return isinstance(value, type) and issubclass(value, TaskClass)


def is_task_object(value: Any) -> bool:
    """Whether a value is an object of a task class: a task with its payload."""
    return is_task_class(type(value))


def kind_given(function: Callable[..., Any] | str | None, namespace: str | None) -> str | None:
    """Returns the stored kind for a filter: a name, a function (declared as a task or not), or a task class."""
    if function is None:
        return None
    if isinstance(function, str):
        return _core.kind_in(namespace, function)
    if is_task_class(function):
        from ._tasks.base import kind_of

        return own_kind(namespace, kind_of(function))  # type: ignore[arg-type]
    return own_kind(namespace, identify(unwrap(function)).kind)


def own_kind(namespace: str | None, name: str) -> str:
    """Returns the stored kind of a function of this application, named ``module:qualname``."""
    return name if namespace is None else f"{namespace}/{name}"


def name_in(namespace: str | None, kind: str) -> str | None:
    """Returns the ``module:qualname`` of a stored kind. None if the kind belongs to another namespace, or to one while
    this application has none."""
    if namespace is None:
        return None if "/" in kind.partition(":")[0] else kind
    before = f"{namespace}/"
    return kind[len(before) :] if kind.startswith(before) else None


def refuse(function: Any, why: str, hint: str) -> FunctionRefused:
    return FunctionRefused(f"{function!r} cannot be a task: {why}", hint=hint)


_identities: weakref.WeakKeyDictionary[Any, Identity] = weakref.WeakKeyDictionary()


def identify(function: Any) -> Identity:
    """Returns the name of a function. Raises ``FunctionRefused`` for a callable that cannot be a task."""
    try:
        found = _identities.get(function)
    except TypeError:
        found = None
    if found is None:
        found = _identify(function)
        try:
            _identities[function] = found
        except TypeError:
            pass
    return found


def _identify(function: Any) -> Identity:
    if inspect.iscoroutine(function):
        raise refuse(function, "it is a coroutine", "pass the function and its arguments apart: add_task(f, x)")
    if not callable(function):
        raise refuse(function, "it is not callable", "pass the function itself: add_task(send_email, address)")
    if isinstance(function, staticmethod):
        raise refuse(function, "it is the descriptor of a static method", "pass the function of the class: Mails.send")
    if isinstance(function, types.MethodType):
        if isinstance(function.__self__, type):
            raise refuse(
                function,
                "it is a class method, whose class (or a subclass of it) would have to be stored with it",
                "make it a static method, or a function, that names the class it needs",
            )
        raise refuse(
            function,
            "it is a bound method, whose object would have to be stored with it",
            "pass a function that takes what it needs: an id to load the object by, for example",
        )
    if isinstance(function, functools.partial):
        raise refuse(function, "it is a partial", "pass the function and all its arguments to add_task")
    if is_task_class(function):
        from ._tasks.base import kind_of

        return Identity(kind_of(function), True)
    if inspect.isclass(function):
        raise refuse(function, "it is a class", "pass a function")
    if isinstance(function, types.BuiltinFunctionType):
        raise refuse(
            function,
            "it is built in, and workers run functions of the application only",
            "wrap it in a function of your own",
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise refuse(function, "it is a generator function, whose body a call does not run", "pass a function")
    module, qualname = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not module or not qualname:
        raise refuse(
            function,
            f"it is an object of the class `{type(function).__qualname__}`, and has no name to be found by",
            "pass a function defined with def; a class that decorates functions gives its objects their names by "
            "functools.update_wrapper(self, function)",
        )
    shown = module
    if module == "__main__":
        name = main_module()
        if name is None:
            raise refuse(function, "it is defined in a program that no worker can import", "define it in a module's file")
        shown = name
    kind = f"{shown}:{qualname}"
    if "<" not in qualname and _walk(sys.modules.get(module), qualname) is function:
        return Identity(kind, True)
    if isinstance(function, types.FunctionType):
        # A name that no object at the top of a module can have.
        return Identity(kind if "<" in qualname else f"{shown}:<locals>.{qualname}", False)
    raise refuse(
        function,
        f"`{kind}` does not lead back to it",
        "define it with def at the top of a module, under the name that it has there",
    )


def shape(function: Any) -> Shape:
    """Returns the shape of a function. Injected parameters are left out; raises ``FunctionRefused`` for those that only
    a request could provide."""
    found = _shapes.settled.get(function)
    return found if found is not None else _shapes(function)


def _shape(function: Any) -> tuple[Shape, bool]:
    from ._resolve import injected, is_settled, refuse_requests

    refuse_requests(function, getattr(function, "__qualname__", repr(function)))
    try:
        signature = _hints.signature(function)
    except (TypeError, ValueError):
        return Shape(None, (), frozenset(), 0, sys.maxsize), True
    own = set(injected(function))
    parameters = [p for p in signature.parameters.values() if p.name not in own]
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needs_names = any(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters)
    many = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    # Parameters after an injected one can only be passed by name; `bind` raises otherwise.
    plain = not needs_names and not any(p.name in own for p in list(signature.parameters.values())[: len(places)])
    least = sum(p.default is p.empty for p in places)
    further, fields = _further(function, parameters)
    made = Shape(
        signature.replace(parameters=_ordered(parameters)),
        (*signature.parameters, *fields),
        frozenset(own),
        least if plain else sys.maxsize,
        (sys.maxsize if many else len(places)) if plain else -1,
        further,
    )
    return made, is_settled(function)


_shapes = _hints.Cache(_shape)


def _further(function: Any, parameters: list[inspect.Parameter]) -> tuple[str | None, tuple[str, ...]]:
    """Returns the name of a function's ``**data``, or the names in it if it is unpacked from a typed dict."""
    for parameter in parameters:
        if parameter.kind is parameter.VAR_KEYWORD:
            unpacked = _hints.unpacked(_hints.of(function).hints.get(parameter.name))
            if isinstance(unpacked, type):
                return None, tuple(_hints.of_class(unpacked))
            return parameter.name, ()
    return None, ()


def _ordered(parameters: list[inspect.Parameter]) -> list[inspect.Parameter]:
    """Orders parameters: without the injected ones, a parameter with a default may precede one without."""
    seen = False
    ordered = []
    for parameter in parameters:
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            if parameter.default is not parameter.empty:
                seen = True
            elif seen:
                parameter = parameter.replace(kind=parameter.KEYWORD_ONLY)
        ordered.append(parameter)
    return sorted(ordered, key=lambda parameter: parameter.kind)


def check_call(function: Any, found: Shape, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raises ``TypeError`` if the function cannot be called with these arguments."""
    if found.signature is None or (not kwargs and found.least <= len(args) <= found.most):
        return
    for name in found.injected.intersection(kwargs):
        raise TypeError(f"{function.__qualname__}: the worker provides `{name}`, and no caller can give it")
    try:
        found.signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{function.__qualname__}: {error}{_what_to_do(function, found, kwargs)}") from None


def _what_to_do(function: Any, found: Shape, kwargs: dict[str, Any]) -> str:
    """Returns the end of an error message about a call that does not fit: what to do."""
    unknown = next((name for name in kwargs if name not in found.names), "")
    if unknown in OPTIONS:
        return f" (behind using(...) all keywords are the function's: give the option by using({unknown}=...))"
    meant = alike(unknown, OPTIONS.union(found.names)) if unknown else ""
    return meant or (f" ({DECORATED})" if _signatures.passes_on(function) else "")


#: Hint for a decorator's wrapper that takes other arguments than its signature says.
DECORATED = "a decorator's wrapper names the arguments that it takes itself, before its *args and **kwargs, or has a `__signature__`"


# ------------------------------------------------------------------------------------------- from a name to a function


class Functions:
    """The functions that names from rows may refer to in this process."""

    def __init__(self, app: str | None = None, include: Iterable[str] = ()) -> None:
        self.app = app.split(":")[0] if app else None
        self.include = tuple(include)
        self.roots: set[str] = set()
        #: Functions that this process has queued or that are declared, by kind. The function that runs is the one that
        #: their module has now.
        self.known: dict[str, Callable[..., Any]] = {}
        #: The declared ones among them, and task classes.
        self.declared: dict[str, Declared | type] = {}

    def declare(self, function: Callable[..., Any], declared: Declared | type) -> None:
        """Declares a function at the top of a module, or a task class, by its name."""
        kind = f"{function.__module__}:{function.__qualname__}"
        self.known[kind] = function
        self.declared[kind] = declared

    def add_root(self, directory: str | os.PathLike[str]) -> None:
        """Adds a directory: modules below it belong to the application, unless they were installed."""
        self.roots.add(os.path.realpath(directory))

    def is_declared(self, kind: str) -> bool:
        """Whether the object with the name of a kind is declared by ``@task``, or is a task class."""
        module, _, qualname = kind.partition(":")
        return any(
            self.leads_to_declared(f"{name}:{qualname}", _stands(sys.modules.get(name), qualname))
            for name in self._names(module)
        )

    def leads_to_declared(self, kind: str, found: Any) -> bool:
        """Whether an object found under a name is the one that was declared under it."""
        declared = self.declared.get(kind)
        return declared is not None and leads_to(found, declared)

    def find(self, kind: str) -> Callable[..., Any] | None:
        """Returns the function of a kind as its module has it now; None if there is none that may run."""
        module_name, _, qualname = kind.partition(":")
        known = self.known.get(kind)
        names = self._names(module_name)
        if known is not None:
            names = (known.__module__, *names)
        is_plain = all(part.isidentifier() and not part.startswith("__") for part in qualname.split("."))
        for name in names:
            module = sys.modules.get(name)
            if module is None:
                continue
            found = _stands(module, qualname)
            function = unwrap(found)
            # A different object that has replaced a known one counts as unknown.
            is_known = known is not None and (function is known or self.leads_to_declared(kind, found))
            if (is_known or is_plain and self.is_ours(module_name, module)) and (
                callable(function)
                and (not inspect.isclass(function) or is_task_class(function))
                and not isinstance(function, (types.BuiltinFunctionType, types.MethodType, functools.partial))
                and getattr(function, "__qualname__", None) == qualname
                and getattr(function, "__module__", None) == name
            ):
                return function  # type: ignore[no-any-return]
        return None

    def fingerprint(self, namespace: str | None) -> str:
        """Returns a hash of the application's code. Processes with the same fingerprint find the same functions."""
        found = hashlib.sha256(repr((sys.version_info[:3], self.app, self.include, sorted(self.known))).encode())
        if namespace is not None:
            found.update(f"{namespace}/".encode())
        for name, module in sorted(sys.modules.items()):
            if not isinstance(module, types.ModuleType) or not self.is_ours(name, module):
                continue
            found.update(repr(name).encode())
            file = getattr(module, "__file__", None)
            if file is not None:
                with contextlib.suppress(OSError), open(file, "rb") as source:
                    found.update(hashlib.sha256(source.read()).digest())
        return found.hexdigest()

    def _names(self, module: str) -> tuple[str, ...]:
        # The program's own file, under the name by which other processes import it.
        return (module, "__main__") if module == main_module() else (module,)

    def is_ours(self, name: str, module: types.ModuleType) -> bool:
        """Whether a loaded module belongs to the application or is listed in the setting ``include``."""
        if self.app is not None and name.split(".")[0] == self.app.split(".")[0]:
            return True
        for pattern in self.include:
            if name == pattern.removesuffix(".*") or (pattern.endswith(".*") and name.startswith(pattern[:-1])):
                return True
        file = getattr(module, "__file__", None)
        if file is None:
            return False
        file = os.path.realpath(file)
        return any(_is_below(file, root) for root in self.roots) and not any(
            _is_below(file, place) for place in _installed()
        )


@functools.cache
def _installed() -> frozenset[str]:
    """Returns the directories of installed packages and of the standard library."""
    places = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    places |= {path for path in sys.path if path.endswith(("site-packages", "dist-packages"))}
    return frozenset(os.path.realpath(place) for place in places if place)


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip(os.sep) + os.sep)


#: The functions of this process. A worker fills in its application; a web process knows those that it has queued
#: itself.
FUNCTIONS = Functions()
