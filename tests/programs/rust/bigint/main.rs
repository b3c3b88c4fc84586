// SPDX-License-Identifier: Apache-2.0
use std::fmt;
use std::ops::{AddAssign, Mul};

#[derive(Clone, PartialEq, Eq)]
struct Big(Vec<u32>);

impl From<u32> for Big {
    fn from(n: u32) -> Self {
        Big(vec![n])
    }
}

impl Mul<&Big> for &Big {
    type Output = Big;
    fn mul(self, o: &Big) -> Big {
        let mut out = vec![0u32; self.0.len() + o.0.len()];
        for (i, &a) in self.0.iter().enumerate() {
            let mut carry = 0u64;
            for (j, &b) in o.0.iter().enumerate() {
                let t = u64::from(a) * u64::from(b) + u64::from(out[i + j]) + carry;
                out[i + j] = t as u32;
                carry = t >> 32;
            }
            out[i + o.0.len()] = carry as u32;
        }
        while out.len() > 1 && out.last() == Some(&0) {
            out.pop();
        }
        Big(out)
    }
}

impl AddAssign<&Big> for Big {
    fn add_assign(&mut self, o: &Big) {
        let mut carry = 0u64;
        for i in 0..self.0.len().max(o.0.len()) {
            if i == self.0.len() {
                self.0.push(0);
            }
            let t = u64::from(self.0[i]) + u64::from(*o.0.get(i).unwrap_or(&0)) + carry;
            self.0[i] = t as u32;
            carry = t >> 32;
        }
        if carry > 0 {
            self.0.push(carry as u32);
        }
    }
}

impl fmt::Display for Big {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut n, mut parts) = (self.0.clone(), vec![]);
        while !n.is_empty() {
            let mut rem = 0u64;
            for d in n.iter_mut().rev() {
                let t = rem << 32 | u64::from(*d);
                *d = (t / 1_000_000_000) as u32;
                rem = t % 1_000_000_000;
            }
            while n.last() == Some(&0) {
                n.pop();
            }
            parts.push(rem);
        }
        let mut s = parts.pop().unwrap_or(0).to_string();
        for p in parts.iter().rev() {
            s += &format!("{p:09}");
        }
        f.pad_integral(true, "", &s)
    }
}

fn pow_mod(mut b: u128, mut e: u128, m: u128) -> u128 {
    let mut r = 1;
    b %= m;
    while e > 0 {
        if e & 1 == 1 {
            r = r * b % m;
        }
        b = b * b % m;
        e >>= 1;
    }
    r
}

fn is_prime(n: u64) -> bool {
    const WITNESSES: [u64; 12] = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37];
    if n < 2 || WITNESSES.iter().any(|w| n % w == 0) {
        return WITNESSES.contains(&n);
    }
    let s = (n - 1).trailing_zeros();
    let (d, n) = (u128::from((n - 1) >> s), u128::from(n));
    WITNESSES.iter().all(|&w| {
        let mut x = pow_mod(w.into(), d, n);
        x == 1 || (0..s).any(|_| {
            let hit = x == n - 1;
            x = x * x % n;
            hit
        })
    })
}

fn main() {
    let mut f = Big::from(1);
    for n in 2..=50u32 {
        f = &f * &n.into();
    }
    println!("{f}");
    let (mut a, mut b) = (Big::from(0), Big::from(1));
    for _ in 0..400 {
        a += &b;
        std::mem::swap(&mut a, &mut b);
    }
    println!("{a}\n{b:+}");
    println!("{:?}", (1u64 << 61..).filter(|n| is_prime(n - 1)).take(2).collect::<Vec<_>>());
    println!("{} {} {}", u128::MAX, i128::MIN, (3u64).pow(40));
    println!("{:?} {:?} {:?} {:?}", 250u8.checked_add(10), 250u8.wrapping_add(10), 250u8.saturating_add(10), 250u8.overflowing_add(10));
    println!("{} {} {} {}", -7 / 2, -7 % 2, (-7i32).div_euclid(2), (-7i32).rem_euclid(2));
    println!("{} {} {:e} {:?} {:?}", 0.1 + 0.2, 1.0 / 3.0, 1234567.0, 1e21, f64::MIN_POSITIVE);
    println!("{} {} {} {}", 300i32 as u8, -1i8 as u32, f32::NAN as i32, 1e10 as i32);
    println!("{:#x} {:#b} {:o} {:08.3} {:+}", 255, 5, 64, -3.14159, 7);
    println!("{} {} {}", 0b1011u8.count_ones(), 40u64.leading_zeros(), 0x1234u16.swap_bytes());
    println!("{:?} {:?}", 17u32.isqrt(), 100u32.checked_ilog(3));
    let zero = std::hint::black_box(0);
    println!("{}", 10 / zero);
}
