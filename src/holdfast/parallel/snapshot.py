"""Whether workers that were forked earlier would do the same as workers forked now.

A forked worker has the program as it was at the fork. It is used again only if what the function is about to use is
the same as then, by a rule that errs on the safe side:

- the functions and classes of ``__main__`` are the same objects (arguments may be such, or instances of such a class);
- every global that the function names, and every global named by what those refer to, in the user's modules, is bound
  to the same object as then, and that object cannot change inside: a number, a text, a function, a class, a module.

A global list, dictionary, array or model can change inside, so that a function which uses one gets new workers each
time. Modules of the standard library and installed packages count as not changing.
"""

from __future__ import annotations

import sys
from functools import partial
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["IMMUTABLE", "Snapshot"]

IMMUTABLE = frozenset({bool, bytes, complex, float, int, str, type(None), range, type(Ellipsis)})
_MUTABLE = object()  # stands for what may change inside: the same as nothing
_NAMED = (FunctionType, BuiltinFunctionType, type, ModuleType)
_MEMBERS = (property, staticmethod, classmethod, MemberDescriptorType, GetSetDescriptorType)
_OPAQUE = frozenset({"re.Pattern", "functools._lru_cache_wrapper", "numpy.ufunc", "_abc._abc_data"})
_DEEP = 4  # levels of tuples that are looked into

_installed: dict[int, tuple[ModuleType, bool]] = {}  # by id: whether a module is the user's own


def _is_users(module: ModuleType) -> bool:
    known = _installed.get(id(module))
    if known is not None and known[0] is module:
        return known[1]
    users = _looks_like_users(module)
    _installed[id(module)] = module, users
    return users


def _looks_like_users(module: ModuleType) -> bool:
    name = getattr(module, "__name__", "")
    if name in ("__main__", "__mp_main__"):
        return True
    if name.partition(".")[0] == __name__.partition(".")[0] or name in sys.builtin_module_names:
        return False
    path = getattr(module, "__file__", None)
    if not isinstance(path, str):
        return getattr(module, "__spec__", None) is None  # made by hand
    if "site-packages" in path or "dist-packages" in path:
        return False
    return name.partition(".")[0] not in sys.stdlib_module_names


def _held(value: object, depth: int = 0) -> object:
    """The object itself, if it cannot change inside; functions and classes are looked into by name."""
    kind = type(value)
    if kind in IMMUTABLE or isinstance(value, _NAMED) or f"{kind.__module__}.{kind.__qualname__}" in _OPAQUE:
        return value
    if kind in (tuple, frozenset) and depth < _DEEP:
        inner: Any = value
        return value if all(_held(each, depth + 1) is not _MUTABLE for each in inner) else _MUTABLE
    return _MUTABLE


def _member(value: object) -> object:
    """As `_held`, for what stands in a class."""
    return value if isinstance(value, _MEMBERS) else _held(value)


class Snapshot:
    """What the names of the user's modules and classes stand for, now."""

    def __init__(self) -> None:
        self._modules: dict[str, dict[str, object]] = {}
        self._classes: dict[type, dict[str, object]] = {}
        for name, module in list(sys.modules.items()):
            if hasattr(module, "__dict__") and _is_users(module):  # there are stranger things than modules
                self._modules[name] = self._names(module)

    def _names(self, module: ModuleType) -> dict[str, object]:
        names = {}
        for name, value in list(vars(module).items()):
            names[name] = _held(value)
            if isinstance(value, type) and value not in self._classes and value.__module__ == module.__name__:
                self._classes[value] = {key: _member(each) for key, each in list(vars(value).items())}
        return names

    def holds_for(self, *functions: Any) -> bool:  # noqa: ANN401 - whatever can be called, or None
        """Whether the functions would do the same in a process forked now."""
        return self._main_is_same() and _Walk(self._modules, self._classes).all_same(functions)

    def _main_is_same(self) -> bool:
        main = sys.modules.get("__main__")
        if main is None:
            return True
        before = self._modules.get("__main__", {})
        now = list(vars(main).items())
        named = ((k, v) for k, v in now if isinstance(v, (FunctionType, type)) and v.__name__ == k)  # pickled by name
        return all(before.get(k) is v for k, v in named)


class _Walk:
    """Looks at everything that functions refer to."""

    def __init__(self, modules: dict[str, dict[str, object]], classes: dict[type, dict[str, object]]) -> None:
        self._modules, self._classes = modules, classes
        self._pending: list[Any] = []
        self._seen: dict[int, Any] = {}

    def all_same(self, functions: tuple[Any, ...]) -> bool:
        self._pending.extend(functions)
        while self._pending:
            each = self._pending.pop()
            if id(each) not in self._seen:
                self._seen[id(each)] = each
                if not self._same(each):
                    return False
        return True

    def _same(self, each: Any) -> bool:  # noqa: ANN401 - whatever can be called
        if isinstance(each, FunctionType):
            return self._function_same(each)
        if isinstance(each, type):
            return self._class_same(each)
        if isinstance(each, partial):
            self._pending += [each.func, *map(type, each.args), *map(type, each.keywords.values())]
        elif isinstance(each, MethodType):
            self._pending += [each.__func__, each.__self__ if isinstance(each.__self__, type) else type(each.__self__)]
        elif isinstance(each, (tuple, frozenset)):
            self._pending.extend(each)
        elif not isinstance(each, (BuiltinFunctionType, ModuleType)) and type(each) not in IMMUTABLE:
            self._pending += [type(each), getattr(each, "__wrapped__", None)]
        return True

    def _function_same(self, function: FunctionType) -> bool:
        module = sys.modules.get(function.__module__ or "")
        if module is not None and not _is_users(module):
            return True
        before = self._modules.get(function.__module__ or "")
        if before is None:
            return False
        inside = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
        for cell in function.__closure__ or ():
            try:
                inside.append(cell.cell_contents)
            except ValueError:  # it is empty
                return False
        if any(_held(each) is _MUTABLE for each in inside):
            return False
        self._pending += inside
        names = _names_in(function.__code__)
        return self._names_same(names, function.__globals__, before, names)

    def _names_same(
        self, names: set[str], now: dict[str, Any], before: dict[str, object], attributes: set[str]
    ) -> bool:
        for name in names:
            if name not in now:
                if name in before:
                    return False
                continue
            value = now[name]
            if before.get(name, _MUTABLE) is not value:
                return False
            if not isinstance(value, ModuleType):
                self._pending.append(value)
            elif _is_users(value) and id(value) not in self._seen:
                self._seen[id(value)] = value
                known = self._modules.get(value.__name__)
                if known is None or not self._names_same(attributes, vars(value), known, attributes):
                    return False
        return True

    def _class_same(self, kind: type) -> bool:
        module = sys.modules.get(kind.__module__)
        if module is not None and not _is_users(module):
            return True
        before = self._classes.get(kind)
        if before is None:
            return False
        self._pending += kind.__bases__
        enum = sys.modules.get("enum")
        if enum is not None and isinstance(kind, enum.EnumMeta):
            return True
        for name, value in list(vars(kind).items()):
            if name.startswith("__") and not isinstance(value, FunctionType):
                continue  # such as __doc__ and __dataclass_fields__
            if before.get(name, _MUTABLE) is not value:
                return False
            if isinstance(value, property):
                self._pending += [value.fget, value.fset, value.fdel]
            elif isinstance(value, (staticmethod, classmethod)):
                self._pending.append(value.__func__)
            elif isinstance(value, FunctionType):
                self._pending.append(value)
        return True


def _names_in(code: CodeType) -> set[str]:
    """All names of a function's code and the code inside of it, globals and attributes alike."""
    names = set(code.co_names)
    for const in code.co_consts:
        if isinstance(const, CodeType):
            names |= _names_in(const)
    return names
