"""False alarms and detection of every alert rule, on a year of synthetic tenants; sound form against plain form.

`python -m benchmarks.alerts` prints the tables of docs/alerts.md. Each tenant has a year of calls: weekdays and
weekends, seasons, growth, two launches (a new level that stays), a holiday week, and a silent week, in which its calls
were not recorded. None of that should alert, but the silence. Into a copy of the year, incidents are put (a runaway
day, a regression, errors, …), one at a time, at random places; what is found of them is the detection.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from genledger.alerting import verdicts
from genledger.alerting.kinds.spending_rules import FIRST_TIMES
from genledger.alerting.rules import MIN_SHARE, MIN_USD, Form
from genledger.alerting.verdicts import Traffic
from genledger.reports import baselines
from genledger.reports.baselines import HISTORY_DAYS, WEEK

DAYS = 365
VOLUMES = (3, 50, 500)
FORMS: tuple[Form, ...] = ("plain", "sound")
COST = 0.04
"""USD of a median call."""

SPREAD = 0.8
"""Of the logarithm of a call's cost."""

DAY_NOISE = 0.25
WEEKEND = 0.25
ERRORS = 0.01
UNPRICED = 0.002
ORGANIZATION_USD = 500.0
"""What the organization of a tenant spends in a day: 1 % of it is the least impact."""


def poisson(chance: random.Random, expected: float) -> int:
    """Return a number of events."""
    if expected > 50:
        return max(0, round(chance.gauss(expected, math.sqrt(expected))))
    limit, product, count = math.exp(-expected), chance.random(), 0
    while product > limit:
        product *= chance.random()
        count += 1
    return count


@dataclass
class Tenant:
    """A year of one tenant, by day."""

    volume: float
    chance: random.Random
    weekdays: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    silent: range = range(0)

    def __post_init__(self) -> None:
        chance = self.chance
        growth = chance.choice((0.0, 0.0, 0.001, 0.003))
        season = chance.uniform(0.0, 0.3)
        phase = chance.uniform(0, 2 * math.pi)
        launches = {chance.randrange(40, DAYS - 20): chance.uniform(1.3, 1.8) for _ in range(2)}
        holiday = chance.randrange(60, DAYS - 20)
        begin = chance.randrange(60, DAYS - 20)
        self.silent = range(begin, begin + WEEK)
        level = 1.0
        # Shifted so that the year's mean is the volume that the table names.
        for day in range(DAYS):
            level *= launches.get(day, 1.0) * (1 + growth)
            rate = level * (1 + season * math.sin(2 * math.pi * day / DAYS + phase))
            rate *= WEEKEND if day % WEEK > 4 else 1.0
            rate *= 0.3 if holiday <= day < holiday + WEEK else 1.0
            self.rates.append(rate)
        scale = self.volume / fmean(self.rates)
        self.rates = [rate * scale for rate in self.rates]
        for day, rate in enumerate(self.rates):
            noise = math.exp(chance.gauss(-(DAY_NOISE**2) / 2, DAY_NOISE))
            count = 0 if day in self.silent else poisson(chance, rate * noise)
            self.calls.append(count)
            self.costs.append(self.cost_of(count))

    def cost_of(self, calls: int) -> float:
        """Return what so many calls cost."""
        if calls > 400:
            mean = COST * math.exp(SPREAD**2 / 2)
            deviation = mean * math.sqrt(math.exp(SPREAD**2) - 1)
            return max(0.0, self.chance.gauss(calls * mean, deviation * math.sqrt(calls)))
        return math.fsum(COST * math.exp(self.chance.gauss(0, SPREAD)) for _ in range(calls))

    def hour(self, day: int, part: float = 1.0) -> int:
        """Return the calls of a busy hour of a day, or a part of it."""
        return poisson(self.chance, self.rates[day] / 10 * part)


@dataclass
class Count:
    """What one rule did in one form."""

    false: int = 0
    found: int = 0
    incidents: int = 0
    unsure: int = 0
    judged: int = 0


Result = dict[tuple[str, int, Form], Count]


def days_to_judge(tenant: Tenant) -> Iterator[int]:
    """Yield the days that a rule is tried on: all but the first five weeks, and the silence and what follows it."""
    for day in range(HISTORY_DAYS, DAYS):
        if not tenant.silent.start <= day < tenant.silent.stop + HISTORY_DAYS:
            yield day


def floor_of(form: Form, days: int = 1) -> float:
    """Return the least impact of a window of so many days, without a `min_usd`."""
    return max(MIN_USD, MIN_SHARE * days * ORGANIZATION_USD) if form == "sound" else 0.0


def spike(tenant: Tenant, form: Form, day: int, cost: float) -> verdicts.Verdict:
    """Judge a day."""
    first = max(0, day - HISTORY_DAYS)
    floor = floor_of(form)
    return verdicts.spike(
        form,
        cost,
        tenant.costs[first:day],
        [float(calls) for calls in tenant.calls[first:day]],
        day % WEEK,
        above=2.0,
        floor=floor,
        first=FIRST_TIMES * max(floor, MIN_USD),
    )


def run_spikes(tenant: Tenant, form: Form, count: Count) -> None:
    """Judge every day, and a runaway of ten times the calls on one day in ten."""
    for day in days_to_judge(tenant):
        verdict = spike(tenant, form, day, tenant.costs[day])
        count.judged += 1
        count.unsure += not verdict.enough
        count.false += verdict.firing
        if day % 10 == 3:
            count.incidents += 1
            count.found += spike(
                tenant, form, day, tenant.cost_of(poisson(tenant.chance, 10 * tenant.rates[day]))
            ).firing


def run_saturdays(tenant: Tenant, form: Form, count: Count) -> None:
    """Judge weekends with four times the calls: what a mean over the week hides."""
    for day in days_to_judge(tenant):
        if day % WEEK > 4:
            count.judged += 1
            count.incidents += 1
            count.found += spike(
                tenant, form, day, tenant.cost_of(poisson(tenant.chance, 4 * tenant.rates[day]))
            ).firing


def run_growth(tenant: Tenant, form: Form, count: Count) -> None:
    """Judge every week, and one of twice the calls."""
    for end in days_to_judge(tenant):
        if end % WEEK or end < HISTORY_DAYS + WEEK:
            continue
        first = max(0, end - HISTORY_DAYS - WEEK)

        def judge(week: Sequence[float], end: int = end, first: int = first) -> verdicts.Verdict:
            return verdicts.growth(
                form,
                week,
                tenant.costs[end - 2 * WEEK : end - WEEK],
                tenant.costs[first : end - WEEK],
                [float(calls) for calls in tenant.calls[first : end - WEEK]],
                above=0.2,
                floor=floor_of(form, WEEK),
            )

        verdict = judge(tenant.costs[end - WEEK : end])
        count.judged += 1
        count.unsure += not verdict.enough
        count.false += verdict.firing
        twice = [tenant.cost_of(poisson(tenant.chance, 2 * tenant.rates[day])) for day in range(end - WEEK, end)]
        count.incidents += 1
        count.found += judge(twice).firing


def run_spend(tenant: Tenant, form: Form, count: Count) -> None:
    """Judge every day by three times a usual day's cost, and a runaway of ten times the calls."""
    above = 3 * fmean(tenant.costs)
    for day in days_to_judge(tenant):
        first = day - HISTORY_DAYS
        before = tenant.costs[first:day], [float(calls) for calls in tenant.calls[first:day]]

        def judge(cost: float, before: tuple[Sequence[float], Sequence[float]] = before, day: int = day) -> bool:
            return verdicts.spend(form, cost, *before, day % WEEK, above=above).firing

        count.judged += 1
        count.false += judge(tenant.costs[day])
        if day % 10 == 3:
            count.incidents += 1
            count.found += judge(tenant.cost_of(poisson(tenant.chance, 10 * tenant.rates[day])))


def run_pace(tenant: Tenant, form: Form, count: Count) -> None:
    """Judge a month's budget of 1.5 times what the month costs, every day; and half of that, which does not last."""
    for start in range(60, DAYS - 30, 30):
        month = range(start, start + 30)
        if any(day in tenant.silent or day - HISTORY_DAYS in tenant.silent for day in month):
            continue
        whole = math.fsum(tenant.costs[day] for day in month)
        for budget, is_false in ((1.5 * whole, True), (0.7 * whole, False)):
            fired = False
            for day in month:
                first = day - HISTORY_DAYS
                costs = tenant.costs[first:day]
                rest = baselines.forecast(
                    costs, [float(calls) for calls in tenant.calls[first:day]], day % WEEK, month.stop - day
                )
                verdict = verdicts.pace(
                    form,
                    math.fsum(tenant.costs[start:day]),
                    budget,
                    (day - start) / 30,
                    rest,
                    len(costs),
                    above=100.0 if form == "sound" else 80.0,
                    known=rest[0] > 0,
                )
                fired = fired or verdict.firing
                count.judged += 1
                count.unsure += not verdict.enough
            if is_false:
                count.false += fired
            else:
                count.incidents += 1
                count.found += fired


def run_errors(tenant: Tenant, form: Form, count: Count) -> None:
    """Judge ten half hours a day with 1 % of errors, and one in which 40 % of three times the calls fail."""

    def traffic(day: int, errors: float, times: float, part: float = 0.5) -> Traffic:
        calls = poisson(tenant.chance, times * tenant.rates[day] / 10 * part)
        failed = sum(tenant.chance.random() < errors for _ in range(calls))
        tokens = sum(round(1000 * math.exp(tenant.chance.gauss(0, SPREAD))) for _ in range(calls))
        return Traffic(calls, failed, tokens)

    def judge(day: int, errors: float, times: float) -> verdicts.Verdict:
        now, last = traffic(day, errors, times), traffic(day, errors, times, 1 / 12)
        return verdicts.errors(form, now, last, traffic(day, ERRORS, 1.0), above=0.05, min_calls=verdicts.MIN_CALLS)

    for day in days_to_judge(tenant):
        for _ in range(10):
            verdict = judge(day, ERRORS, 1.0)
            count.judged += 1
            count.unsure += not verdict.enough
            count.false += verdict.firing
        count.incidents += 1
        count.found += judge(day, 0.4, 3.0).firing


def run_regression(tenant: Tenant, form: Form, count: Count) -> None:
    """Judge the week after a version by the one before: the same, and one that takes 1.6 times the tokens."""

    def pairs(days: range, times: float) -> list[tuple[float, float]]:
        traces = sum(tenant.calls[day] for day in days)
        return [
            (times * 1000 * math.exp(tenant.chance.gauss(0, SPREAD)), float(tenant.chance.random() < 0.5))
            for _ in range(min(traces, 2000))
        ]

    for day in days_to_judge(tenant):
        if day % WEEK or day + WEEK > DAYS:
            continue
        before = pairs(range(day - WEEK, day), 1.0)
        for times in (1.0, 1.6):
            verdict = verdicts.regression(
                form, pairs(range(day, day + WEEK), times), before, above=1.4, min_successes=30
            )
            if times == 1.0:
                count.judged += 1
                count.unsure += not verdict.enough
                count.false += verdict.firing
            else:
                count.incidents += 1
                count.found += verdict.firing


def run_unpriced(tenant: Tenant, form: Form, count: Count) -> None:
    """Judge every day with 0.2 % of unpriced calls, and one with 30 %: a new model without a price."""
    for day in days_to_judge(tenant):
        for part in (UNPRICED, 0.3):
            calls = tenant.calls[day]
            hits = sum(tenant.chance.random() < part for _ in range(calls))
            verdict = verdicts.share(form, hits, calls, above=0.01, min_calls=verdicts.MIN_CALLS)
            if part == UNPRICED:
                count.judged += 1
                count.unsure += not verdict.enough
                count.false += verdict.firing
            else:
                count.incidents += 1
                count.found += verdict.firing


def run_embeddings(tenant: Tenant, form: Form, count: Count) -> None:
    """Judge every day's busiest hour: searches, and a re-index every Sunday; and a re-index that runs wild."""

    def embedded(day: int) -> float:
        usual = 40 * tenant.hour(day)
        return usual + 400_000 * tenant.volume / 50 if day % WEEK == 6 else usual

    for day in days_to_judge(tenant):
        hours = [
            40.0 * poisson(tenant.chance, tenant.rates[before] / 24)
            for before in range(day - 14, day)
            for _ in range(24)
        ]
        same = [embedded(day - WEEK * ago) for ago in range(1, 5)]
        generated = 1200.0 * tenant.hour(day)
        for tokens, is_false in ((embedded(day), True), (60e6 * tenant.volume / 50, False)):
            verdict = verdicts.embeddings(
                form, tokens, generated, hours, same, tokens * 0.13e-6, above=3.0 if form == "sound" else 1.0, floor=1.0
            )
            if is_false:
                count.judged += 1
                count.false += verdict.firing
            else:
                count.incidents += 1
                count.found += verdict.firing


def run_silence(tenant: Tenant, form: Form, count: Count) -> None:
    """Judge four quarters of every day; in the silent week, the six busy hours."""
    parts = (0.02, 0.28, 0.5, 0.2)

    def calls(day: int, part: float) -> int:
        return 0 if day in tenant.silent else poisson(tenant.chance, tenant.rates[day] * part)

    for day in range(HISTORY_DAYS, tenant.silent.stop):
        for part in parts:
            weeks = [calls(day - WEEK * ago, part) for ago in range(1, 5)]
            earlier = sum(tenant.calls[day - 28 : day])
            verdict = verdicts.silence(form, calls(day, part), weeks, earlier)
            if day not in tenant.silent:
                count.judged += 1
                count.false += verdict.firing
            elif part == max(parts) and day % WEEK < 5:
                count.incidents += 1
                count.found += verdict.firing


def run_new(tenant: Tenant, form: Form, count: Count) -> None:
    """Judge a model that somebody tried once, on one day in thirty; and one that takes a tenth of the calls."""
    for day in days_to_judge(tenant):
        if day % 30 == 3:
            count.judged += 1
            verdict = verdicts.first_seen(form, 1, tenant.cost_of(1), 28, min_calls=5, min_usd=1.0)
            count.false += verdict.firing
        calls = poisson(tenant.chance, tenant.rates[day] / 10)
        if calls:
            count.incidents += 1
            verdict = verdicts.first_seen(form, calls, tenant.cost_of(calls), 28, min_calls=5, min_usd=1.0)
            count.found += verdict.firing


def run_dropped(tenant: Tenant, form: Form, count: Count) -> None:
    """Judge a single lost record, on one day in thirty; and an outage that loses a tenth of an hour."""
    for day in days_to_judge(tenant):
        calls = tenant.hour(day)
        if day % 30 == 3:
            count.judged += 1
            count.false += verdicts.lost(form, 1, calls + 5000, above=0.0).firing
        if calls >= 10:
            count.incidents += 1
            count.found += verdicts.lost(form, calls // 10, calls, above=0.0).firing


RULES: dict[str, Callable[[Tenant, Form, Count], None]] = {
    "spike (a day of 10 times the calls)": run_spikes,
    "spike (a weekend day of 4 times the calls)": run_saturdays,
    "growth (a week of twice the calls)": run_growth,
    "spend (a day of 10 times the calls)": run_spend,
    "pace (a budget for 70 % of the month)": run_pace,
    "errors (40 % of 3 times the calls)": run_errors,
    "regression (1.6 times the tokens)": run_regression,
    "embeddings (a re-index that runs wild)": run_embeddings,
    "unpriced (30 % of the calls)": run_unpriced,
    "silence (six busy hours)": run_silence,
    "new (a tenth of the calls)": run_new,
    "dropped (a tenth of an hour)": run_dropped,
}
"""Every rule, with the incident that is to be found."""


def simulate(tenants: int, seed: int) -> Result:
    """Return what every rule did, by its name, the calls a day, and the form."""
    result: Result = {}
    for volume in VOLUMES:
        for number in range(tenants):
            for name, run in RULES.items():
                for form in FORMS:
                    # The same tenant, and the same chance, for both forms.
                    tenant = Tenant(volume, random.Random(f"{seed} {volume} {number} {name}"))
                    run(tenant, form, result.setdefault((name, volume, form), Count()))
    return result


def table(result: Result, tenants: int) -> str:
    """Return the numbers as a Markdown table."""
    judged_days = DAYS - HISTORY_DAYS - HISTORY_DAYS - WEEK
    lines = [
        "| rule (incident) | calls a day | false alarms a year, plain | sound | incidents found, plain | sound |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name in RULES:
        for volume in VOLUMES:
            cells = []
            for form in FORMS:
                count = result[name, volume, form]
                cells.append((count.false / tenants * DAYS / judged_days, count.found / max(1, count.incidents)))
            (false_plain, found_plain), (false_sound, found_sound) = cells
            none = result[name, volume, "plain"].incidents == 0
            found = ("–", "–") if none else (f"{found_plain:.0%}", f"{found_sound:.0%}")
            judged = name != "spike (a weekend day of 4 times the calls)"
            false = (f"{false_plain:.1f}", f"{false_sound:.1f}") if judged else ("–", "–")
            lines.append(f"| {name} | {volume} | {false[0]} | {false[1]} | {found[0]} | {found[1]} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tenants", type=int, default=20, help="synthetic tenants of each size")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(f"{options.tenants} tenants of each size, a year each, seed {options.seed}\n")
    print(table(simulate(options.tenants, options.seed), options.tenants))


if __name__ == "__main__":
    main()
