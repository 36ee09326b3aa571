"""Kill switches, budgets and tiers set for all processes through the store, and the log of changes.

All of it is one small JSON document that every process reads twice a second.
"""

from __future__ import annotations

import getpass
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from genledger.budgets.rules.scope import RuleError, Scope, read_scope
from genledger.budgets.stores.base import Store
from genledger.shared.text import as_json

if TYPE_CHECKING:
    from genledger.budgets.rules.rule import Rule

MAX_LOG = 1000
"""Changes that are remembered."""


@dataclass(frozen=True, slots=True)
class Kill:
    """A switch that stops matching calls. Times are seconds since the epoch; `until` is `None` for no end."""

    scope: Scope
    until: float | None
    why: str
    who: str
    at: float

    @classmethod
    def without_rules(cls, why: str) -> Kill:
        """Return what stops every call while no rules are known: `on_invalid_rules` is `closed`."""
        return cls(Scope({}), None, why, "on_invalid_rules=closed", 0.0)


@dataclass(slots=True)
class Controls:
    """The document. `budgets` holds the keys of `[[budget]]` tables, `log` the audit log.

    `until` has when budgets end that do not stay, by the rule's name, in seconds since the epoch.
    """

    kills: list[Kill] = field(default_factory=list)
    budgets: list[dict[str, Any]] = field(default_factory=list)
    tiers: dict[str, str] = field(default_factory=dict)
    log: list[dict[str, Any]] = field(default_factory=list)
    until: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, document: str) -> Controls:
        """From the store's text; empty when there is none."""
        if not document:
            return cls()
        data = orjson.loads(document)
        kills = [Kill(**{**kill, "scope": read_scope(kill["scope"])}) for kill in data["kills"]]
        return cls(kills, data["budgets"], data["tiers"], data["log"], data.get("until", {}))

    def write(self) -> str:
        """As the store's text."""
        kills = [
            {
                "scope": kill.scope.patterns,
                "until": kill.until,
                "why": kill.why,
                "who": kill.who,
                "at": kill.at,
            }
            for kill in self.kills
        ]
        data = {
            "kills": kills,
            "budgets": self.budgets,
            "tiers": self.tiers,
            "log": self.log[-MAX_LOG:],
            "until": self.until,
        }
        return as_json(data)

    def rules(self) -> list[Rule]:
        """Return the budgets as rules."""
        return [rule for _, rule in self.named()]

    def forget_ended(self, now: float) -> None:
        """Take out the budgets that have ended."""
        for name in [name for name, until in self.until.items() if until <= now]:
            _take(self, name)

    def named(self) -> list[tuple[dict[str, Any], Rule]]:
        """Return the budgets, each with the rule that its keys make."""
        if not self.budgets:
            return []
        from genledger.budgets.rules.rule import budget

        return [(keys, budget(**keys)) for keys in self.budgets]


def _change(store: Store, change: Callable[[Controls, float], dict[str, Any]], who: str | None) -> None:
    while True:
        before, now = store.document(), store.now()
        try:
            controls = Controls.read(before)
        except (ValueError, KeyError, TypeError):
            # A switch works whatever is in the store. What cannot be read holds nowhere, and is replaced.
            lost = {"at": now, "who": "genledger", "did": "start over", "why": "what was set could not be read"}
            controls = Controls(log=[lost])
        controls.forget_ended(now)
        done = change(controls, now)
        controls.log.append({"at": now, "who": who or _whoami(), **done})
        if store.replace_document(before, controls.write()):
            return


def _whoami() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"


def kill(store: Store, scope: Mapping[str, str], *, for_: float | None, why: str, who: str | None = None) -> None:
    """Stop every call that matches, everywhere, within two seconds.

    Args:
        store: Where the processes to reach keep their budgets.
        scope: Fields and patterns; an empty one stops everything.
        for_: Seconds until the block ends by itself; `None` for never.
        why: What the callers and the log are told.
        who: Name for the audit log (default: the current user).

    Raises:
        RuleError: The scope or the time makes no sense, or no reason is given.
        StoreDown: The store did not answer.
    """
    wanted = read_scope(scope)
    if not why.strip():
        raise RuleError("why", "expected a reason; callers see it")
    _check_time(for_)

    def change(controls: Controls, now: float) -> dict[str, Any]:
        until = now + for_ if for_ is not None else None
        controls.kills = [each for each in controls.kills if each.scope != wanted]
        controls.kills.append(Kill(wanted, until, why, who or _whoami(), now))
        return {"did": "kill", "scope": str(wanted), "until": until, "why": why}

    _change(store, change, who)


def _check_time(for_: float | None) -> None:
    if for_ is not None and for_ <= 0:
        raise RuleError("for", f"expected seconds above 0, got {for_!r}")


def revive(store: Store, scope: Mapping[str, str], *, why: str = "", who: str | None = None) -> None:
    """Lift the kill switch that was set with exactly this scope.

    Raises:
        RuleError: There is no such switch.
        StoreDown: The store did not answer.
    """
    wanted = read_scope(scope)

    def change(controls: Controls, now: float) -> dict[str, Any]:
        left = [each for each in controls.kills if each.scope != wanted]
        if len(left) == len(controls.kills):
            there = ", ".join(str(each.scope) for each in controls.kills) or "none"
            raise RuleError("scope", f"no kill switch is set for {wanted}; set are: {there}")
        controls.kills = left
        return {"did": "revive", "scope": str(wanted), "why": why}

    _change(store, change, who)


def _take(controls: Controls, name: str) -> dict[str, Any] | None:
    """Take a budget out, and return its keys; `None` when there is none of that name."""
    of_name = [keys for keys, rule in controls.named() if rule.name == name]
    controls.budgets = [keys for keys, rule in controls.named() if rule.name != name]
    controls.until.pop(name, None)
    return of_name[0] if of_name else None


def set_budget(
    store: Store, fields: Mapping[str, Any], *, for_: float | None = None, why: str = "", who: str | None = None
) -> Rule:
    """Set a budget for everybody; it replaces one of the same name, also one that a file sets.

    Args:
        store: Where the processes to reach keep their budgets.
        fields: The keys of a `[[budget]]` table.
        for_: Seconds until the budget ends by itself; `None` for never.
        why: What the log is told.
        who: Name for the audit log (default: the current user).

    Raises:
        RuleError: The keys do not make a rule, or the time makes no sense.
        StoreDown: The store did not answer.
    """
    from genledger.budgets.rules.rule import budget

    rule = budget(**fields)
    _check_time(for_)

    def change(controls: Controls, now: float) -> dict[str, Any]:
        before = _take(controls, rule.name)
        controls.budgets.append(dict(fields))
        done: dict[str, Any] = {"did": "set", "budget": rule.name, "to": dict(fields), "was": before, "why": why}
        if for_ is not None:
            done["until"] = controls.until[rule.name] = now + for_
        return done

    _change(store, change, who)
    return rule


def unset_budget(store: Store, name: str, *, who: str | None = None) -> None:
    """Take back what `set_budget` set.

    Raises:
        RuleError: No budget of that name is set in the store.
        StoreDown: The store did not answer.
    """

    def change(controls: Controls, now: float) -> dict[str, Any]:
        before = _take(controls, name)
        if before is None:
            there = ", ".join(repr(rule.name) for rule in controls.rules()) or "none"
            raise RuleError("name", f"no budget {name!r} is set in the store; set are: {there}")
        return {"did": "unset", "budget": name, "was": before}

    _change(store, change, who)


def set_tier(store: Store, tenant: str, tier: str, *, who: str | None = None) -> None:
    """Give a tenant a plan tier.

    Raises:
        StoreDown: The store did not answer.
    """

    def change(controls: Controls, now: float) -> dict[str, Any]:
        before = controls.tiers.get(tenant)
        controls.tiers[tenant] = tier
        return {"did": "tier", "tenant": tenant, "tier": tier, "was": before}

    _change(store, change, who)
