"""`NamedTuple` and `Generic` without ``typing``, whose import costs a pool and its workers more than most else."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Generic, NamedTuple
else:
    from collections import namedtuple
    from types import GenericAlias

    class _Maker(type):
        """Makes a named tuple of what a class statement says: fields with their defaults, docstring, methods."""

        def __new__(cls, name, bases, body):  # noqa: ANN001, ANN204 - types see the other branch
            if not bases:
                return super().__new__(cls, name, bases, body)
            fields = body.pop("__annotations__")
            defaults = [body.pop(field) for field in fields if field in body]
            made = namedtuple(name, fields, defaults=defaults, module=body.pop("__module__"))  # noqa: PYI024 - see above
            made.__annotations__ = fields
            for key, value in body.items():
                setattr(made, key, value)
            return made

    class NamedTuple(metaclass=_Maker):
        """As ``typing.NamedTuple``."""

    class Generic:
        """As ``typing.Generic``, as far as subscripts go; type variables are named by strings."""

        __class_getitem__ = classmethod(GenericAlias)


__all__ = ["Generic", "NamedTuple"]
