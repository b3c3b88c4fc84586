# SPDX-License-Identifier: Apache-2.0
import datetime as dt
import decimal
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal, localcontext

print(Decimal("0.1") + Decimal("0.2"), Decimal(0.1))
for mode in (ROUND_HALF_EVEN, ROUND_HALF_UP, decimal.ROUND_DOWN, decimal.ROUND_CEILING):
    print(mode, [str(Decimal(s).quantize(Decimal("0.01"), mode)) for s in ("2.675", "-1.005", "7.125")])
with localcontext() as c:
    c.prec = 60
    print(Decimal(2).sqrt(), (Decimal(1) / 7), Decimal(1).exp(), Decimal(10).ln())


def schedule(principal, rate, months):
    monthly = rate / 12
    pay = (principal * monthly / (1 - (1 + monthly) ** -months)).quantize(Decimal("0.01"))
    left = principal
    for month in range(1, months + 1):
        interest = (left * monthly).quantize(Decimal("0.01"), ROUND_HALF_EVEN)
        part = min(pay - interest, left)
        left -= part
        yield month, interest, part, left


start = dt.date(2024, 1, 31)
for month, interest, part, left in schedule(Decimal("1500.00"), Decimal("0.0725"), 6):
    y, m = divmod(start.month - 1 + month, 12)
    day = min(31, (dt.date(start.year + y + (m == 11), (m + 1) % 12 + 1, 1) - dt.timedelta(1)).day)
    print(dt.date(start.year + y, m + 1, day).isoformat(), f"{interest:>8} {part:>8} {left:>9,}")
t = dt.datetime(2024, 2, 29, 23, 59, 59, 999999, dt.timezone(dt.timedelta(hours=5, minutes=45)))
print(t.isoformat(), t.astimezone(dt.timezone.utc), t.timestamp(), t.strftime("%a %d %b %Y %j %U %z"))
print(t + dt.timedelta(microseconds=1), t.isocalendar(), dt.date.fromisoformat("2025-12-29").isocalendar())
print(dt.datetime.fromtimestamp(0, dt.timezone.utc), dt.datetime(9999, 12, 31) - dt.datetime(1, 1, 1))
print(dt.datetime.strptime("07/04/1976 13:05", "%m/%d/%Y %H:%M"), dt.timedelta(days=-1, seconds=5))
for bad in (lambda: dt.date(2023, 2, 29), lambda: Decimal("x"), lambda: Decimal(1) / 0):
    try:
        bad()
    except (ValueError, ArithmeticError) as e:
        print(type(e).__name__, e)
