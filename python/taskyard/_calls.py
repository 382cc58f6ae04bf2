"""Converts a function, its arguments and its options into the draft of a task that the engine stores.

Resolves the options that ``@task`` declares, checks the arguments against the function's parameters, encodes them, and
collects the parents that they name. Does not send anything: that is the port's part (``_port.py``). Read next:
``_codec.py``, ``_identity.py``.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from . import _codec, _core, _dill, _hints, _identity, _port, _refusals, _resolve, _running, _serializers
from ._options import OPTIONS, describe, merge
from ._references import Reference
from .errors import NotSerializable, OptionConflict, OverLimit, WrongState

__all__ = ["Call", "as_tasks", "encode_context", "id_text", "not_yet", "parents_of", "prepare", "split_options"]


class Call(Reference):
    """A function with its arguments and options, for ``add_tasks``.

    As an argument of another call that is added with it or later, a call stands for the result of its task, and the
    other task becomes its child.
    """

    __slots__ = ("args", "function", "id", "kwargs", "options")

    def __init__(
        self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any] | None = None
    ) -> None:
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.options = options or {}
        #: The id of the task, which exists before the task is stored so that calls of one ``add_tasks`` can name each
        #: other as parents.
        self.id = _core.new_id()

    def copy(self) -> Call:
        """Returns a copy of this call, with the same id."""
        made = Call(self.function, self.args, self.kwargs, self.options)
        made.id = self.id
        return made

    def using(self, **options: Any) -> Call:
        """Adds options to this call and returns it."""
        self.options = merge(self.options, options)
        return self


def parents_of(options: dict[str, Any]) -> list[Any]:
    """Returns the parents that the options name."""
    found: list[Any] = []
    for name in ("parent", "parents"):
        given = options.get(name)
        if given is not None:
            found.extend(given if isinstance(given, (list, tuple, set)) else [given])
    return found


def id_text(id: Any) -> str:
    found = getattr(id, "id", id)
    return found if isinstance(found, str) else str(found)


def split_options(function: Any, kwargs: dict[str, Any], has_using: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
    """Splits keyword arguments into those of the function and the options of the task.

    After ``using(...)``, which takes the options, all keywords are the function's. Otherwise a name that can mean both
    raises ``OptionConflict``.
    """
    given = OPTIONS.intersection(kwargs)
    if not given:
        return kwargs, {}
    if not _identity.is_task_object(function):
        if has_using:
            return kwargs, {}
        if not isinstance(function, str):
            _refuse_conflict(function, given)
    return (
        {name: value for name, value in kwargs.items() if name not in given},
        {name: kwargs[name] for name in given},
    )


def _refuse_conflict(function: Any, given: frozenset[str]) -> None:
    """Raises ``OptionConflict`` if the function itself could take one of these options as a keyword."""
    if not callable(function):
        # `identify` refuses it later with the better message.
        return
    found = _identity.shape(_identity.unwrap(function))
    own = given.intersection(found.names)
    if own:
        what = f"an option of add_task, and a parameter of {function!r}"
    elif found.further is not None:
        own, what = given, f"an option of add_task, and {function!r} takes any keyword (`**{found.further}`)"
    else:
        return
    first = min(own)
    raise OptionConflict(
        f"{', '.join(f'`{name}`' for name in sorted(own))}: {what}",
        hint=f"as an option: tasks.using({first}=...).add_task(f, ...); as the function's own keyword: "
        f"tasks.using().add_task(f, ..., {first}=...)",
    )


def encode_context(port: _port.Port, context: dict[str, Any]) -> bytes:
    _running.check_names(context)
    encoder = _codec.Encoder("the context of a task", nesting_max=port.defaults["nesting_max"])
    return encoder.finish({name: encoder.value(value, f"context `{name}`", 1) for name, value in context.items()})[0]


def prepare(port: _port.Port, call: Call) -> dict[str, Any]:
    """Returns the draft of a call's task for the engine. Raises for a call that can never be stored."""
    defaults = port.defaults
    function, options = call.function, call.options
    draft: dict[str, Any] = {
        "id": call.id,
        "max_retries": defaults["max_retries"],
        "timeout": defaults["task_timeout"],
    }
    namespace = defaults.get("namespace")
    if isinstance(function, str):
        draft["kind"] = _core.kind_in(namespace, function)
        # Paths in Rust contain `::`, names in Python a single colon.
        draft["runtime"] = options.get("runtime") or ("python" if ":" in function.replace("::", "") else "rust")
        # Plain JSON in every case: the worker converts it by the function's annotations.
        draft["payload"], references = _codec.encode_plain(call.args, call.kwargs)
    elif _identity.is_task_object(function):
        from ._tasks.task_codec import describe as describe_object

        options = merge(type(function).__taskyard_options__, options)
        references = []
        name, payload, blobs = describe_object(function, defaults, options)
        draft["kind"] = _identity.own_kind(namespace, name)
        _put_payload(draft, payload, blobs, defaults, "attributes")
    else:
        plain = _identity.unwrap(function)
        kind, is_global = _identity.identify(plain)
        declared = declared_options(function, kind if is_global else None)
        if declared:
            options = merge(declared, options)
        found = _identity.shape(plain)
        _identity.check_call(plain, found, call.args, call.kwargs)
        if is_global:
            # A process with embedded workers may run the functions that it queues itself.
            _identity.FUNCTIONS.known[kind] = plain
        draft["kind"] = _identity.own_kind(namespace, kind)
        payload, blobs, references = _codec.encode_call(
            call.args,
            call.kwargs,
            found.names,
            nesting_max=defaults["nesting_max"],
            dill=options.get("serializer") == "dill",
            function=None if is_global else serialize_function(plain),
        )
        _put_payload(draft, payload, blobs, defaults, "arguments")
    parents = [*parents_of(options), *references]
    if options or parents:
        describe(draft, options, parents, id_text)
        if options.get("context") is not None:
            draft["context"] = encode_context(port, options["context"])
    return draft


def declared_options(function: Any, kind: str | None) -> dict[str, Any]:
    """Returns the options that ``@task`` declares for a function: its own, or those of the declared task that it wraps
    under the same name."""
    declared: Any = function
    if not issubclass(type(function), _identity.Declared):
        declared = _identity.FUNCTIONS.declared.get(kind) if kind is not None else None
        if not isinstance(declared, _identity.Declared) or not _identity.leads_to(function, declared):
            return {}
    return dict(declared.options)


def _put_payload(
    draft: dict[str, Any], payload: bytes, blobs: list[_codec.Blob], defaults: dict[str, Any], what: str
) -> None:
    size = len(payload) + sum(len(blob.body) for blob in blobs)
    if size > defaults["arguments_bytes_max"]:
        raise OverLimit(
            f"the {what} take {size} bytes, over the limit of {defaults['arguments_bytes_max']} "
            "(setting arguments_bytes_max)",
            hint="store large data elsewhere and pass its location, or raise the setting",
        )
    draft["payload"], draft["encoded"] = payload, True
    if blobs:
        draft["blobs"] = blobs


def serialize_function(function: Any) -> bytes:
    """Serialises a local function with dill. Raises ``NotSerializable`` if that is not possible."""
    # In a worker, `__main__` is another program, so that the names of this one must be included.
    recurse = function.__module__ == "__main__"
    captured = _refusals.captured(function, recurse)
    for name, value in captured:
        refusal = _refusals.of(type(value))
        if refusal is not None and refusal.always and not _serializers.has_serializer(type(value)):
            raise NotSerializable(
                f"{function!r} cannot be serialised: it captures {name}, which is {refusal.why}", hint=refusal.hint
            )
    try:
        return _dill.dumps(_with_dependencies(function) if recurse else function, recurse=recurse)
    except ImportError:
        raise NotSerializable(
            f"{function!r} is not at the top of a module, and dill, which would serialise it, is not installed",
            hint="pip install dill, or define the function at the top of a module",
        ) from None
    except Exception as error:
        name, why = _at_fault(captured, error)
        raise NotSerializable(
            f"{function!r} cannot be serialised with what it {f'captures, {name}' if name else 'refers to'}: {why}",
            hint=(isinstance(error, NotSerializable) and error.hint)
            or "pass what it needs as arguments, or define it at the top of a module",
        ) from error


def _at_fault(captured: list[_refusals.Captured], error: Exception) -> tuple[str, Any]:
    """Returns the name of the innermost captured value that cannot be serialised on its own, and the reason."""
    # A value that another one contains comes after it.
    at_fault = ""
    for name, value in reversed(captured):
        try:
            _dill.dumps(value)
        except Exception as why:
            at_fault, error = name, why
            break
    return at_fault, error.message if isinstance(error, NotSerializable) else error


def _with_dependencies(function: Any) -> Any:
    """Returns the function with the annotations of its injected parameters as objects, since dill does not serialise
    the names that a textual annotation refers to."""
    names = _resolve.injected(function)
    if not any(isinstance(function.__annotations__.get(name), str) for name in names):
        return function
    made = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    functools.update_wrapper(made, function)
    del made.__wrapped__  # type: ignore[attr-defined]
    made.__kwdefaults__ = function.__kwdefaults__
    hints = _hints.of(function).hints
    made.__annotations__ = {**function.__annotations__, **{name: hints[name] for name in names if name in hints}}
    return made


@contextmanager
def as_tasks(calls: Iterable[Call]) -> Iterator[None]:
    """Marks the task objects among these calls as queued, and takes that back if the body of the ``with`` statement
    raises.

    An object is one task: raises ``WrongState`` for one that was added before.
    """
    taken = []
    try:
        for call in calls:
            if not _identity.is_task_object(call.function):
                continue
            known = not_yet(call.function)
            taken.append(known)
            known.is_queued, known.id = True, call.id
        yield
    except BaseException:
        for known in taken:
            known.is_queued, known.id = False, None
        raise


def not_yet(task: Any) -> Any:
    """Returns the queue's record of an object that is not a task yet. Raises ``WrongState`` for one that is."""
    from ._tasks.base import known_of

    known = known_of(task)
    if known.is_queued:
        raise WrongState(
            f"this {type(task).__qualname__} is a task already{f' ({known.id})' if known.id else ''}",
            hint="create another object; to run the same task again: requeue_task(id)",
        )
    return known
