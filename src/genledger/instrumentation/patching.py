"""Patches that apply when the application imports a library, before or after `instrument()`.

Nothing here imports a client library. Uninstrumenting puts back the very attributes that were there. Where
another instrumentation has patched on top in the meantime, our layer stays below it and does nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

import wrapt

from genledger.shared import internal_errors
from genledger.shared.private_attributes import call_at_next_import

Wrapper = Callable[[Any, Any, tuple[Any, ...], dict[str, Any]], Any]
"""`wrapper(wrapped, instance, args, kwargs)`, as wrapt calls it."""


class Patch(NamedTuple):
    """One attribute to wrap.

    Args:
        module: Module of the attribute.
        path: The attribute, with dots for a method of a class.
        wrapper: Replacement of the attribute.
        optional: Some supported versions lack the attribute.
        unless: Skip the patch if this other attribute of the module exists.
        overriding: Only where the class itself has the attribute: another instrumentation has put its own over
            the inherited one, and would go past ours.
    """

    module: str
    path: str
    wrapper: Wrapper
    optional: bool = False
    unless: str | None = None
    overriding: bool = False


class Hook(NamedTuple):
    """Setup to run in a module on import, for modules with a public hook.

    Args:
        module: The module.
        install: Installs the hook; receives the module.
        remove: Removes the hook; receives the module.
    """

    module: str
    install: Callable[[ModuleType], None]
    remove: Callable[[ModuleType], None]


Patches = list[Patch | Hook]


class _Viewed:
    """What each object of a class has for itself, changed where it is looked up."""

    def __init__(self, name: str, view: Callable[[Any], Any]) -> None:
        self._name = name
        self._view = view

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None or self._name not in vars(instance):
            raise AttributeError(f"{owner.__name__!r} has no attribute {self._name!r}")
        return self._view(vars(instance)[self._name])

    def __set__(self, instance: Any, value: Any) -> None:
        vars(instance)[self._name] = value

    def __delete__(self, instance: Any) -> None:
        del vars(instance)[self._name]


def wrapped_by(wrapper: Wrapper) -> Callable[[Any], Any]:
    """Return a decorator of a function that is ours, or that is given to us: calls of it go through a wrapper."""
    return wrapt.decorator(wrapper)


def held(module: str, cls: str, name: str, wrapper: Wrapper) -> Hook:
    """Return the patch of a function that each object of a class has for itself, of objects that exist, too.

    Args:
        module: Module of the class.
        cls: The class. A version that lacks it has nothing to patch.
        name: The attribute of its objects.
        wrapper: Replacement of the function.
    """
    return viewed(module, cls, name, lambda function: wrapt.FunctionWrapper(function, wrapper))


def viewed(module: str, cls: str, name: str, view: Callable[[Any], Any]) -> Hook:
    """Return the patch of what each object of a class has for itself, of objects that exist, too.

    Args:
        module: Module of the class.
        cls: The class. A version that lacks it has nothing to patch.
        name: The attribute of its objects.
        view: Makes what is found of what an object has.
    """
    attribute = _Viewed(name, view)

    def install(found: ModuleType) -> None:
        owner = getattr(found, cls, None)
        if owner is not None and not hasattr(owner, name):
            setattr(owner, name, attribute)

    def remove(found: ModuleType) -> None:
        owner = getattr(found, cls, None)
        if owner is not None and vars(owner).get(name) is attribute:
            delattr(owner, name)

    return Hook(module, install, remove)


class _Applied(NamedTuple):
    parent: Any
    name: str
    original: Any
    replacement: Any
    own: bool


class Patcher:
    """Apply and restore the patches of one client library."""

    def __init__(self, patches: Patches) -> None:
        self.patches = patches
        self._applied: list[_Applied] = []
        self._waiting: set[str] = set()
        self._installed: list[tuple[Hook, ModuleType]] = []
        self.active = False

    def apply(self) -> None:
        """Patch imported modules now, and every module whenever it is imported."""
        self.active = True
        for module in dict.fromkeys(patch.module for patch in self.patches):
            if module not in self._waiting:
                self._waiting.add(module)
                call_at_next_import(module, partial(self._imported, module))
            if module in sys.modules:
                self._patch(module, sys.modules[module])

    def restore(self) -> None:
        """Restore every attribute that still has our patch."""
        self.active = False
        for applied in reversed(self._applied):
            if _is(vars(applied.parent).get(applied.name), applied.replacement):
                if applied.own:
                    setattr(applied.parent, applied.name, applied.original)
                else:
                    delattr(applied.parent, applied.name)
                self._applied.remove(applied)
        while self._installed:
            hook, module = self._installed.pop()
            try:
                hook.remove(module)
            except Exception as error:
                internal_errors.report(f"removing the hook from {hook.module}", error)

    @property
    def patched(self) -> list[str]:
        """Return the currently patched attributes."""
        attributes = [f"{applied.parent.__name__}.{applied.name}" for applied in self._applied]
        return attributes + [hook.module for hook, _ in self._installed]

    def _install(self, hook: Hook, module: ModuleType) -> None:
        if (hook, module) in self._installed:
            return
        try:
            hook.install(module)
            self._installed.append((hook, module))
        except Exception as error:
            internal_errors.report(f"installing the hook in {hook.module}", error)

    def _imported(self, name: str, module: ModuleType) -> None:
        call_at_next_import(name, partial(self._imported, name))
        if self.active:
            self._patch(name, module)

    def _patch(self, name: str, module: ModuleType) -> None:
        """Patch a module, known by the name that it is imported by: some give themselves another `__name__`."""
        for patch in self.patches:
            if patch.module != name:
                continue
            if isinstance(patch, Hook):
                self._install(patch, module)
                continue
            if patch.unless is not None and _resolve(module, patch.unless) is not None:
                continue
            found = _resolve(module, patch.path)
            if found is None:
                if not patch.optional:
                    internal_errors.report(
                        f"patching {patch.module}.{patch.path}",
                        AttributeError("this version does not have it; its calls are not recorded"),
                    )
                continue
            parent, attribute, own, original = found
            if patch.overriding and (not own or any(_is_within(original, one.replacement) for one in self._applied)):
                continue
            before = next((one for one in self._applied if one.parent is parent and one.name == attribute), None)
            if before is not None:
                if _is_within(original, before.replacement):
                    continue
                self._applied.remove(before)
            replacement = wrapt.FunctionWrapper(original, patch.wrapper)
            setattr(parent, attribute, replacement)
            self._applied.append(_Applied(parent, attribute, original, replacement, own))


def _is_within(attribute: Any, layer: Any) -> bool:
    """Return whether a layer is still among those that wrap an attribute."""
    seen = 0
    while attribute is not None and seen < 100:
        if _is(attribute, layer):
            return True
        attribute = getattr(attribute, "__wrapped__", None)
        seen += 1
    return False


def _is(attribute: Any, layer: Any) -> bool:
    """Return whether an attribute is a layer, or what its class gives for it, as others put back what they got there.

    https://wrapt.readthedocs.io/en/latest/wrappers.html#function-wrappers
    """
    return attribute is layer or getattr(attribute, "_self_parent", None) is layer


def _resolve(module: ModuleType, path: str) -> tuple[Any, str, bool, Any] | None:
    parent: Any = module
    *outer, name = path.split(".")
    for part in outer:
        parent = getattr(parent, part, None)
        if parent is None:
            return None
    for owner in getattr(parent, "__mro__", (parent,)):
        if name in vars(owner):
            return parent, name, owner is parent, vars(owner)[name]
    return None
