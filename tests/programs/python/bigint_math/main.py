# SPDX-License-Identifier: Apache-2.0
import math
from fractions import Fraction

print(math.factorial(60))
print(pow(3, 10**40, 10**20 + 39), pow(17, -1, 3120))
print(math.isqrt(10**60 + 12345), math.gcd(2**120 - 1, 2**90 - 1), math.lcm(*range(1, 41)))
a, b = 2**521 - 1, 3**200
print(divmod(a, b), (-a) // 10**150, a ^ b, (a & b).bit_length(), bin(b).count("1"))


def is_prime(n):
    d, s = n - 1, 0
    while d % 2 == 0:
        d, s = d // 2, s + 1
    for w in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37):
        if n % w == 0:
            return n == w
        x = pow(w, d, n)
        if x not in (1, n - 1) and all((x := x * x % n) != n - 1 for _ in range(s - 1)):
            return False
    return True


print([p for p in range(2, 128) if is_prime(2**p - 1)], is_prime(10**18 + 9))
h = sum(Fraction(1, k) for k in range(1, 31))
print(h, float(h), h.limit_denominator(1000))


def pi_digits(n):
    unity = 10 ** (n + 10)

    def arctan(x):
        total = term = unity // x
        k, sign = 3, -1
        while term:
            term //= x * x
            total += sign * (term // k)
            k, sign = k + 2, -sign
        return total
    return 4 * (4 * arctan(5) - arctan(239)) // 10**10


print(pi_digits(200))
print(int("zz" * 20, 36), hex(b), b.to_bytes(40, "big").hex(), f"{a:_}"[:40], 1e308 * 10, -7 // 2)
print(0.1 + 0.2, 1 / 3, 1e16, 1e-7, round(2.5), float.hex(0.1), math.fsum([0.1] * 10), math.tau)
