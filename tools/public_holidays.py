"""`make holidays PLACE=FR`: writes the public holidays of a place as a dated list for policy files.

The functions read only this list, so their asset needs no package for it. PLACE is a country such as FR, or a part of
one such as DE-BY, as the package `holidays` names them. The list has this year and the next four.
"""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

FOLDER = Path("policies/holidays")
YEARS = 5


def listing(place: str, made_with: str, years: range, days: dict[date, str]) -> str:
    """The list as TOML."""
    lines = [f"{day:%Y-%m-%d},  # {days[day]}" for day in sorted(days)]
    return "\n".join(
        [
            f"# Public holidays, written by `make holidays PLACE={place}`.",
            f'place = "{place}"',
            f'made_with = "{made_with}"',
            f"from = {years[0]}-01-01",
            f"to = {years[-1]}-12-31",
            "dates = [",
            *(f"    {line}" for line in lines),
            "]\n",
        ]
    )


def main(arguments: list[str]) -> int:
    """Write the list of one place, and say where it is."""
    import holidays as package  # only here: it has a virtual environment of its own

    holidays: Any = package
    if len(arguments) != 1:
        print("PLACE names a country such as FR, or a part of one such as DE-BY.", file=sys.stderr)
        return 2
    place = arguments[0]
    country, _, part = place.partition("-")
    this_year = datetime.now(UTC).year
    years = range(this_year, this_year + YEARS)
    try:
        days = holidays.country_holidays(country, subdiv=part or None, years=years, language="en_US")
    except NotImplementedError as error:
        print(f"PLACE={place}: {error}", file=sys.stderr)
        return 2
    path = FOLDER / f"{place}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(listing(place, f"holidays {holidays.__version__}", years, dict(days)), encoding="utf-8")
    print(f"{path}: {len(days)} days of {years[0]} to {years[-1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
