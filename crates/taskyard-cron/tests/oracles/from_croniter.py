"""Writes from_croniter.txt: random expressions with their next times in UTC as croniter 7.0.0 computes them.

    pip install croniter==7.0.0
    python from_croniter.py

A line consists of an expression, a tab, the start of the search in minutes since 1970-01-01 00:00 UTC, and the
differences in minutes to the first time, from that to the second, and so on. The seed is fixed: every run writes the
same file.

Left out, because croniter interprets it differently:

- a range of one value (`1-1`), which is the whole field there; a range across the field's end with a step (`22-2/3`),
  which selects other values; `*` as one item of a list;
- a day field that lists every value (`0-6`) counts as `*` when the other day field begins with `*` (`*/2`); here it
  never does;
- `5#2` and `L5` together with day-of-month, both of which must then admit the day; `W` together with day-of-week;
- `31W`, which is moved into shorter months; so days over 28 are left out;
- steps as wide as the field, which are errors here; schedules that never run.
"""

import random
from datetime import datetime, timezone
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

from croniter import croniter

COUNT = 5_000
TIMES = 5
FIELDS = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)]
MONTHS = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split()
WEEKDAYS = "SUN MON TUE WED THU FRI SAT".split()


def value(rng: random.Random, field: int, number: int) -> str:
    """Returns a number, or the name of a month or weekday."""
    if field >= 3 and rng.random() < 0.3:
        name = MONTHS[number - 1] if field == 3 else WEEKDAYS[number]
        return rng.choice([name, name.lower(), name.title()])
    return f"{number:02}" if rng.random() < 0.1 else str(number)


def item(rng: random.Random, field: int) -> str:
    """Returns one item of a list."""
    low, high = FIELDS[field]
    kind = rng.random()
    first = rng.randint(low, high)
    if kind < 0.5:
        return value(rng, field, first)
    if kind < 0.6:
        return f"{first}/{rng.randint(1, high - low)}"
    last = rng.choice([other for other in range(low, high + 1) if other != first])
    step = f"/{rng.randint(1, max(1, min(high - low, 12)))}" if first < last and rng.random() < 0.4 else ""
    return f"{value(rng, field, first)}-{value(rng, field, last)}{step}"


def plain(rng: random.Random, field: int) -> str:
    """Returns one field without special forms."""
    low, high = FIELDS[field]
    kind = rng.random()
    if kind < (0.4 if field >= 2 else 0.15):
        return "*"
    if kind < 0.5:
        return f"*/{rng.randint(1, high - low)}"
    return ",".join(item(rng, field) for _ in range(rng.choice([1, 1, 1, 2, 3])))


def expression(rng: random.Random) -> str:
    """Returns an expression of five fields."""
    fields = [plain(rng, field) for field in range(5)]
    kind = rng.random()
    if kind < 0.08:
        fields[2] = "L"
    elif kind < 0.12:
        fields[2], fields[4] = f"{rng.randint(1, 28)}W", "*"
    elif kind < 0.2:
        fields[2], fields[4] = "*", f"{value(rng, 4, rng.randint(0, 6))}#{rng.randint(1, 5)}"
    elif kind < 0.26:
        fields[2], fields[4] = "*", f"L{rng.randint(0, 6)}"
    return " ".join(fields)


def lists_every_day(text: str) -> bool:
    """Returns whether a day field admits every day without being `*`, next to another day field."""
    words, values = text.split(), croniter.expand(text)[0]
    full = [words[at] != "*" and (values[at] == ["*"] or len(values[at]) == size) for at, size in ((2, 31), (4, 7))]
    return any(full) and "*" not in (words[2], words[4])


def line(rng: random.Random) -> str | None:
    """Returns a line of the file, or None for an expression that is left out."""
    text = expression(rng)
    if lists_every_day(text):
        return None
    start = rng.randint(26_000_000, 36_000_000)
    at = datetime.fromtimestamp(start * 60, timezone.utc)
    try:
        times = croniter(text, at)
        found = [int(times.get_next(datetime).timestamp()) // 60 for _ in range(TIMES)]
    except Exception as error:  # croniter reports during the search that no date matches.
        if "failed to find" not in str(error) and "is not a valid" not in str(error):
            raise RuntimeError(text) from error
        return None
    return f"{text}\t{start} " + " ".join(str(b - a) for a, b in pairwise([start, *found]))


def main() -> None:
    """Writes the file next to this one."""
    if version("croniter") != "7.0.0":
        raise SystemExit("croniter 7.0.0 is needed")
    rng = random.Random(20261121)
    lines: list[str] = []
    while len(lines) < COUNT:
        if (found := line(rng)) is not None:
            lines.append(found)
    Path(__file__).with_suffix(".txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
