"""Whether something is out of the ordinary: one pure function for each kind of rule, in both forms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from genledger.alerting.rules import Form
from genledger.reports import baselines
from genledger.reports.baselines import WEEK, expected_day, mean, share_interval, spread, weekday_factors

EARLY = 7 / 30
"""The part of a budget's window that counts as its first week."""

MIN_CALLS = 20
"""Calls without which a share of calls says nothing."""

SURE_OF_CALLS = 1e-3
"""The most that the chance of no call may be where silence is reported."""

SILENT_WEEKS = 2
"""Weeks without which nothing is known about the same hours of other weeks."""

REINDEX_HOURS = 7 * 24
"""Hours of history without which nothing is known about a usual hour of embeddings."""

LOST_SHARE = 0.001
"""Lost records that matter, as a share of the calls in the same window."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer for one scope, window and threshold.

    Attributes:
        firing: Whether to alert.
        value: What was measured.
        limit: What it had to pass.
        expected: What was expected; `None` if the rule expects nothing, or knows too little.
        low: The low end of the usual range, or of the interval of `value`.
        high: The high end of it.
        n: How much it is judged by.
        of: What `n` counts.
        enough: Whether that is enough for the form that was asked for.
    """

    firing: bool
    value: float
    limit: float
    expected: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    of: str = ""
    enough: bool = True


def spike(
    form: Form,
    today: float,
    days: Sequence[float],
    calls: Sequence[float],
    weekday: int,
    *,
    above: float,
    floor: float,
    first: float,
) -> Verdict:
    """Judge a day's cost by the days before it.

    Plain: more than `above` times the mean of the last seven days. Sound: see `Expected.limit`. A scope that cannot be
    judged by its own days is reported when it passes `first`. What has passed the limit before the day is over has
    passed it: today may be judged at any time, without more false alarms.

    Args:
        form: The form of the rule.
        today: The cost so far, in USD.
        days: That of the days before, oldest first, from the first call on.
        calls: Their calls.
        weekday: Today's, 0 (Monday) to 6.
        above: Times what is expected.
        floor: The least excess to report, in USD.
        first: What a scope without enough history must pass, in USD.
    """
    if form == "plain":
        usual = mean(days[-WEEK:])
        limit = max(usual * above, usual + floor)
        return Verdict(usual > 0 and today > limit, today, limit, usual, n=len(days[-WEEK:]), of="days")
    expected = expected_day(days, calls, weekday)
    if expected is None:
        return Verdict(today > first, today, first, *_too_few(days, calls), enough=False)
    limit = expected.limit(above, floor)
    return Verdict(today > limit, today, limit, expected.value, expected.low, expected.high, expected.n, "days")


def spend(
    form: Form, today: float, days: Sequence[float], calls: Sequence[float], weekday: int, *, above: float
) -> Verdict:
    """Judge spend by an amount. Sound: it must also be above the usual range of its weekday, if that is known."""
    expected = expected_day(days, calls, weekday) if form == "sound" else None
    if expected is None:
        if form == "plain":
            return Verdict(today > above, today, above, n=len(days), of="days")
        return Verdict(today > above, today, above, *_too_few(days, calls), enough=False)
    limit = max(above, expected.high)
    return Verdict(today > limit, today, limit, expected.value, expected.low, expected.high, expected.n, "days")


def _too_few(days: Sequence[float], calls: Sequence[float]) -> tuple[None, None, None, int, str]:
    """Return what there are too few of to judge a day by: days, or calls a day."""
    if len(days) < baselines.MIN_DAYS:
        return None, None, None, len(days), "days"
    return None, None, None, round(mean(calls[-2 * WEEK :])), "calls a day"


def growth(
    form: Form,
    week: Sequence[float],
    before: Sequence[float],
    history: Sequence[float],
    calls: Sequence[float],
    *,
    above: float,
    floor: float,
) -> Verdict:
    """Judge a week's cost by that of the week before.

    Plain: it grew by more than the share `above`. Sound: also, the low end of the growth's 95 % interval, which
    follows from the deviation of single days, is more than a quarter of that, and the excess is at least `floor`.

    Args:
        form: The form of the rule.
        week: The cost of its seven days.
        before: That of the seven days before.
        history: The days that the deviation of a day is measured on, oldest first, up to the end of the week before.
        calls: The calls of these days.
        above: The share, such as 0.2.
        floor: The least excess to report, in USD.
    """
    now, then = math.fsum(week), math.fsum(before)
    n = round(math.fsum(calls[-WEEK:]))
    limit = then * (1 + above)
    if form == "plain":
        limit = max(limit, then + floor)
        return Verdict(then > 0 and now > limit, now, limit, then, n=n, of="calls in the week before")
    if len(history) < baselines.MIN_DAYS or mean(calls[-2 * WEEK :]) < baselines.MIN_CALLS_A_DAY or then <= 0:
        return Verdict(False, now, limit, then, n=n, of="calls in the week before", enough=False)
    factors = weekday_factors(history, len(history) - 1)
    deviation = spread([value / factors[place % WEEK] for place, value in enumerate(history)])
    low, high = baselines.weeks_interval(now / then, deviation)
    firing = now > limit and low > 1 + above * baselines.PART_OF_THRESHOLD and now - then >= floor
    return Verdict(firing, now, limit, then, then * low, then * high, n, "calls in the week before")


def regression(
    form: Form,
    after: Sequence[tuple[float, float]],
    before: Sequence[tuple[float, float]],
    *,
    above: float,
    min_successes: int,
) -> Verdict:
    """Judge what a success takes after a change by what it took before, from pairs (used, successes) of each trace.

    Plain: it takes more than `above` times as much. Sound: there are enough successes on both sides, and the low end
    of the quotient's 95 % interval passes a quarter of the threshold, too.
    """
    now, then = baselines.ratio_of_sums(after), baselines.ratio_of_sums(before)
    n = round(min(now.successes, then.successes))
    if not n or then.used <= 0:
        return Verdict(False, 0.0, 0.0, n=n, of="successes", enough=False)
    quotient = now.value / then.value
    limit = then.value * above
    if form == "plain":
        return Verdict(quotient > above, now.value, limit, then.value, n=n, of="successes")
    low, high = baselines.ratio_interval(now, then)
    enough = n >= min_successes
    firing = enough and quotient > above and low > 1 + (above - 1) * baselines.PART_OF_THRESHOLD
    return Verdict(
        firing, now.value, limit, then.value, then.value * low, then.value * high, n, "successes", enough=enough
    )


@dataclass(frozen=True, slots=True)
class Traffic:
    """Calls of a time: how many, how many failed, and their input tokens."""

    calls: int = 0
    errors: int = 0
    input_tokens: int = 0

    @property
    def share(self) -> float:
        """Return the share that failed."""
        return self.errors / self.calls if self.calls else 0.0


def errors(form: Form, now: Traffic, last: Traffic, before: Traffic, *, above: float, min_calls: int) -> Verdict:
    """Judge failing calls that take more and more input tokens: somebody retries with ever longer prompts.

    Plain: more than the share `above` failed, and input tokens rose. Sound: also, there are enough calls, the low end
    of the share's 95 % interval is above the threshold, and so is the share of the `last` sixth of the window.

    Args:
        form: The form of the rule.
        now: The window.
        last: The last sixth of it.
        before: The window before.
        above: The share.
        min_calls: Calls without which the sound form says nothing.
    """
    low, high = share_interval(now.errors, now.calls)
    firing = now.share > above and now.input_tokens > before.input_tokens
    enough = True
    if form == "sound":
        enough = now.calls >= min_calls
        firing = firing and enough and low > above and last.share > above
    expected = before.share if before.calls else None
    return Verdict(firing, now.share, above, expected, low, high, now.calls, "calls", enough=enough)


def share(form: Form, hits: int, calls: int, *, above: float, min_calls: int) -> Verdict:
    """Judge a share of calls. Sound: of enough calls, and the low end of its 95 % interval is above the threshold."""
    low, high = share_interval(hits, calls)
    value = hits / calls if calls else 0.0
    if form == "plain":
        return Verdict(value > above, value, above, n=calls, of="calls")
    enough = calls >= min_calls
    return Verdict(enough and low > above, value, above, None, low, high, calls, "calls", enough=enough)


def pace(
    form: Form,
    used: float,
    limit: float,
    elapsed: float,
    rest: tuple[float, float],
    days: int,
    *,
    above: float,
    known: bool,
) -> Verdict:
    """Judge how fast a budget is used up.

    Plain: more than `above` % are used in the first week (of a month; 7/30 of any other window). Sound: the low end
    of what will be used at the end is more than `above` % of the limit. Without enough days, the sound form says
    nothing.

    Args:
        form: The form of the rule.
        used: What is used so far.
        limit: The budget.
        elapsed: The part of the window that is over, 0 to 1.
        rest: What the rest of the window is expected to use, and the low end of it (`baselines.forecast`).
        days: Days that this is judged by.
        above: The threshold in percent.
        known: Whether there were enough days to expect anything.
    """
    if limit <= 0:
        return Verdict(False, used, limit, n=days, of="days", enough=False)
    if form == "plain":
        return Verdict(elapsed <= EARLY and used > limit * above / 100, used, limit * above / 100, n=days, of="days")
    expected, low = used + rest[0], used + rest[1]
    firing = known and used < limit and low > limit * above / 100
    return Verdict(
        firing,
        used,
        limit * above / 100,
        expected if known else None,
        low if known else None,
        None,
        days,
        "days",
        enough=known,
    )


def embeddings(
    form: Form,
    embedded: float,
    generated: float,
    hours: Sequence[float],
    same_hours: Sequence[float],
    excess_usd: float,
    *,
    above: float,
    floor: float,
) -> Verdict:
    """Judge embedding tokens.

    Plain: more than `above` times the tokens of generation. Sound: more than these, more than `above` times a busy
    hour (95 % of the last two weeks' hours are quieter) and the same hours of the last weeks (a re-index every Sunday
    is usual), and the excess costs at least `floor`.

    Args:
        form: The form of the rule.
        embedded: Embedding tokens in the window.
        generated: Tokens of generation in the window.
        hours: Embedding tokens of windows of the last two weeks, oldest first.
        same_hours: Those of the same time in the last four weeks.
        excess_usd: What the embeddings cost beyond a usual window, in USD.
        above: Times what is usual.
        floor: The least excess to report, in USD.
    """
    if form == "plain":
        limit = generated * above
        return Verdict(embedded > limit, embedded, limit, n=1, of="windows")
    ordered = sorted(hours)
    usual = max(ordered[math.ceil(0.95 * len(ordered)) - 1] if ordered else 0.0, *same_hours, 0.0)
    limit = max(generated, usual * above)
    enough = len(hours) >= REINDEX_HOURS
    firing = enough and embedded > limit and excess_usd >= floor
    return Verdict(firing, embedded, limit, usual, n=len(hours), of="windows", enough=enough)


def silence(form: Form, calls: int, weeks: Sequence[int], earlier: int) -> Verdict:
    """Judge a window without calls.

    Plain: there were calls at any time before. Sound: no call would be most unlikely, by half of the calls in the same
    hours of the last weeks, all of which had some.

    Args:
        form: The form of the rule.
        calls: Calls in the window.
        weeks: Calls in the same hours one, two, three and four weeks ago, as far as there is a ledger.
        earlier: Calls at any time in these weeks.
    """
    if form == "plain":
        return Verdict(not calls and earlier > 0, calls, 0.0, n=earlier, of="calls")
    usual = median(weeks) if weeks else 0.0
    enough = len(weeks) >= SILENT_WEEKS
    sure = baselines.chance_of_none(usual / 2) < SURE_OF_CALLS and min(weeks, default=0) > 0
    return Verdict(enough and not calls and sure, calls, 0.0, usual, n=len(weeks), of="weeks", enough=enough)


def lost(form: Form, records: int, calls: int, *, above: float) -> Verdict:
    """Judge lost records. Sound: also more than a thousandth of the calls in the window."""
    limit = above if form == "plain" else max(above, calls * LOST_SHARE)
    return Verdict(records > limit, records, limit, n=calls, of="calls")


def first_seen(form: Form, calls: int, cost: float | None, days: int, *, min_calls: int, min_usd: float) -> Verdict:
    """Judge a value that was not there in the weeks before.

    Plain: it was used. Sound: often enough, for enough money or for an unknown amount, and there were weeks before.

    Args:
        form: The form of the rule.
        calls: Calls with it in the window.
        cost: What they cost in USD; `None` if none of them has a price.
        days: Days of the ledger before the window.
        min_calls: The least calls to report.
        min_usd: The least cost to report.
    """
    value = cost or 0.0
    if form == "plain":
        return Verdict(calls > 0 and days > 0, value, 0.0, n=days, of="days")
    enough = days >= WEEK
    firing = enough and calls >= min_calls and (cost is None or cost >= min_usd)
    return Verdict(firing, value, min_usd, n=days, of="days", enough=enough)
