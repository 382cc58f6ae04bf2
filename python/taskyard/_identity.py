"""Which function a task names, and which functions a name may mean.

A function is named ``module:qualname``. Whether it is module-level is decided by identity: the name, looked up, must give
the very function. Others (nested, lambdas, closures) travel serialised. A name from a row is looked up in modules of the
application only, and never causes an import.
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


class Identity(NamedTuple):
    """A function as a task names it."""

    kind: str
    #: It can be found by its name; otherwise it travels serialised.
    is_global: bool


class Shape(NamedTuple):
    """What a call of a function must know of it."""

    signature: inspect.Signature | None
    names: tuple[str, ...]
    #: Parameters that the worker fills.
    injected: frozenset[str]
    #: Positional arguments that a call without keywords may have.
    least: int
    most: int
    #: The name of its ``**data``, which takes keywords of any name.
    further: str | None = None


class Declared:
    """A function that ``@task`` declares, with the options of its tasks. Only an object of this class is one: attributes
    are copied by ``functools.wraps`` from a function to what stands around it, and say nothing about that."""

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
    """The base of all classes of tasks."""

    __slots__ = ()


_main_name: str | None = None


def main_module() -> str | None:
    """The name under which a worker finds what is defined in ``__main__``; None if it cannot."""
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
        # Not a class method's: its class is nothing that a caller gives.
        if isinstance(found, staticmethod):
            found = found.__func__
    return found


def leads_to(found: Any, declared: Any) -> bool:
    """Whether this is what was declared, or was put around it as ``functools.wraps`` does. By identity: a name says nothing,
    for what is wrapped around a function has that function's."""
    for _ in range(_signatures.WRAPPERS_MAX):
        if found is declared:
            return True
        if issubclass(type(found), Declared):
            # The same function with other options (`using`).
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
    """The plain function of a ``@task`` object. Anything else is itself: a function that is wrapped around one, and an object
    of a subclass that has its own ``__call__``."""
    cls = type(function)
    return function.function if issubclass(cls, Declared) and cls.__call__ is Declared.__call__ else function


def is_task_class(value: Any) -> bool:
    """Whether it is a class of tasks (``taskyard.tasks.Task``), which is a kind as functions are."""
    return isinstance(value, type) and issubclass(value, TaskClass)


def is_task_object(value: Any) -> bool:
    """Whether it is an object of such a class: a task with its payload."""
    return is_task_class(type(value))


def kind_given(function: Callable[..., Any] | str | None, namespace: str | None) -> str | None:
    """The stored kind that a filter means: by its name, by a function (declared as a task or not), or by a class of tasks."""
    if function is None:
        return None
    if isinstance(function, str):
        return _core.kind_in(namespace, function)
    if is_task_class(function):
        from ._tasks.base import kind_of

        return own_kind(namespace, kind_of(function))  # type: ignore[arg-type]
    return own_kind(namespace, identify(unwrap(function)).kind)


def own_kind(namespace: str | None, name: str) -> str:
    """The stored kind of a function of this application, named ``module:qualname``."""
    return name if namespace is None else f"{namespace}/{name}"


def name_in(namespace: str | None, kind: str) -> str | None:
    """``module:qualname`` of a stored kind; None if it is not of this namespace, or not without one."""
    if namespace is None:
        return None if "/" in kind.partition(":")[0] else kind
    before = f"{namespace}/"
    return kind[len(before) :] if kind.startswith(before) else None


def refuse(function: Any, why: str, hint: str) -> FunctionRefused:
    return FunctionRefused(f"{function!r} cannot be a task: {why}", hint=hint)


_identities: weakref.WeakKeyDictionary[Any, Identity] = weakref.WeakKeyDictionary()


def identify(function: Any) -> Identity:
    """How a task names this function."""
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
        # Under a name that nothing at the top of a module can have.
        return Identity(kind if "<" in qualname else f"{shown}:<locals>.{qualname}", False)
    raise refuse(
        function,
        f"`{kind}` does not lead back to it",
        "define it with def at the top of a module, under the name that it has there",
    )


def shape(function: Any) -> Shape:
    """What a call must know of a function's parameters. Injected ones are not the caller's; those of requests are refused."""
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
    # Parameters after an injected one can only be given by name; `bind` says so.
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
    """The name of a function's ``**data``; or, if these are unpacked from a typed dict, the names that there are."""
    for parameter in parameters:
        if parameter.kind is parameter.VAR_KEYWORD:
            unpacked = _hints.unpacked(_hints.of(function).hints.get(parameter.name))
            if isinstance(unpacked, type):
                return None, tuple(_hints.of_class(unpacked))
            return parameter.name, ()
    return None, ()


def _ordered(parameters: list[inspect.Parameter]) -> list[inspect.Parameter]:
    """Without the injected ones a parameter that has a default may stand before one that has none."""
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
    """Raises ``TypeError`` if the function cannot be called so."""
    if found.signature is None or (not kwargs and found.least <= len(args) <= found.most):
        return
    for name in found.injected.intersection(kwargs):
        raise TypeError(f"{function.__qualname__}: the worker provides `{name}`, and no caller can give it")
    try:
        found.signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{function.__qualname__}: {error}{_what_to_do(function, found, kwargs)}") from None


def _what_to_do(function: Any, found: Shape, kwargs: dict[str, Any]) -> str:
    """The end of an error about a call that does not fit."""
    unknown = next((name for name in kwargs if name not in found.names), "")
    if unknown in OPTIONS:
        return f" (behind using(...) all keywords are the function's: give the option by using({unknown}=...))"
    meant = alike(unknown, OPTIONS.union(found.names)) if unknown else ""
    return meant or (f" ({DECORATED})" if _signatures.passes_on(function) else "")


#: What to do about a decorator's wrapper that takes other arguments than it says.
DECORATED = "a decorator's wrapper names the arguments that it takes itself, before its *args and **kwargs, or has a `__signature__`"


# ------------------------------------------------------------------------------------------- from a name to a function


class Functions:
    """The functions that names from rows may mean, in this process."""

    def __init__(self, app: str | None = None, include: Iterable[str] = ()) -> None:
        self.app = app.split(":")[0] if app else None
        self.include = tuple(include)
        self.roots: set[str] = set()
        #: Functions that this process itself made tasks of, or that are declared: their names may mean something, and what
        #: it is stands in their modules.
        self.known: dict[str, Callable[..., Any]] = {}
        #: Those of them that `@task` declares, and classes of tasks.
        self.declared: dict[str, Declared | type] = {}

    def declare(self, function: Callable[..., Any], declared: Declared | type) -> None:
        """Makes a function at the top of a module, or a class, a task by its name."""
        kind = f"{function.__module__}:{function.__qualname__}"
        self.known[kind] = function
        self.declared[kind] = declared

    def add_root(self, directory: str | os.PathLike[str]) -> None:
        """Modules below this directory are the application's, unless they were installed."""
        self.roots.add(os.path.realpath(directory))

    def is_declared(self, kind: str) -> bool:
        """Whether what stands under the name of a kind is declared by ``@task``, or a class of tasks."""
        module, _, qualname = kind.partition(":")
        return any(
            self.leads_to_declared(f"{name}:{qualname}", _stands(sys.modules.get(name), qualname))
            for name in self._names(module)
        )

    def leads_to_declared(self, kind: str, found: Any) -> bool:
        """Whether this, which stands under a name, is what was declared under it."""
        declared = self.declared.get(kind)
        return declared is not None and leads_to(found, declared)

    def find(self, kind: str) -> Callable[..., Any] | None:
        """The function of a kind, as it stands in its module now; None if there is none that may run."""
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
            # Another one that has come to stand under a known name is as good as unknown.
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
        """Of the application's code: processes with the same one find the same functions."""
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
        # The program's own file, under the name by which others know it.
        return (module, "__main__") if module == main_module() else (module,)

    def is_ours(self, name: str, module: types.ModuleType) -> bool:
        """Whether a loaded module belongs to the application or is listed."""
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
    """Where the interpreter keeps what is not the application's."""
    places = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    places |= {path for path in sys.path if path.endswith(("site-packages", "dist-packages"))}
    return frozenset(os.path.realpath(place) for place in places if place)


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip(os.sep) + os.sep)


#: Those of this process. A worker fills in its application; a web process knows what it has queued itself.
FUNCTIONS = Functions()
