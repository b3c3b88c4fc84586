// SPDX-License-Identifier: Apache-2.0
use std::collections::BTreeMap;
use std::fmt::{self, Debug, Display};
use std::marker::PhantomData;
use std::ops::{Add, Deref, Index, Mul, Neg, Not};

#[derive(Clone, Copy, PartialEq, PartialOrd)]
struct Vector<const N: usize>([f64; N]);

impl<const N: usize> Add for Vector<N> {
    type Output = Self;
    fn add(self, o: Self) -> Self {
        Vector(std::array::from_fn(|i| self.0[i] + o.0[i]))
    }
}

impl<const N: usize> Mul for Vector<N> {
    type Output = f64;
    fn mul(self, o: Self) -> f64 {
        self.0.iter().zip(o.0).map(|(a, b)| a * b).sum()
    }
}

impl<const N: usize> Neg for Vector<N> {
    type Output = Self;
    fn neg(self) -> Self {
        Vector(self.0.map(|x| -x))
    }
}

impl<const N: usize> Debug for Vector<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}

trait Animal {
    const LEGS: u32;
    type Food: Display + Default;
    fn name(&self) -> String;
    fn eat(&self, food: Self::Food) -> String {
        format!("{} eats {food} on {} legs", self.name(), Self::LEGS)
    }
}

#[derive(Default)]
struct Meat;
impl Display for Meat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("meat")
    }
}

struct Dog;
struct Bird(String);
impl Animal for Dog {
    const LEGS: u32 = 4;
    type Food = Meat;
    fn name(&self) -> String {
        "dog".into()
    }
}
impl Animal for Bird {
    const LEGS: u32 = 2;
    type Food = String;
    fn name(&self) -> String {
        self.0.clone()
    }
    fn eat(&self, _: String) -> String {
        "not hungry".to_string()
    }
}

trait Describe {
    fn describe(&self) -> String;
}
impl<T: Debug> Describe for T {
    fn describe(&self) -> String {
        format!("<{self:?}>")
    }
}

struct Locked;
struct Unlocked;
struct Door<S>(u8, PhantomData<S>);
impl Door<Locked> {
    fn new() -> Self {
        Door(0, PhantomData)
    }
    fn unlock(self) -> Door<Unlocked> {
        Door(self.0 + 1, PhantomData)
    }
}
impl Not for Door<Unlocked> {
    type Output = Door<Locked>;
    fn not(self) -> Door<Locked> {
        Door(self.0 + 1, PhantomData)
    }
}

struct Matrix(Vec<Vec<i64>>);
impl Index<(usize, usize)> for Matrix {
    type Output = i64;
    fn index(&self, (r, c): (usize, usize)) -> &i64 {
        &self.0[r][c]
    }
}
struct Wrapper(Vec<u8>);
impl Deref for Wrapper {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}
impl FromIterator<u8> for Wrapper {
    fn from_iter<I: IntoIterator<Item = u8>>(i: I) -> Self {
        Wrapper(i.into_iter().collect())
    }
}

fn largest<T: PartialOrd + Copy, I>(items: I) -> Option<T>
where
    I: IntoIterator<Item = T>,
{
    items.into_iter().reduce(|a, b| if b > a { b } else { a })
}

fn compose<A, B, C>(f: impl Fn(A) -> B, g: impl Fn(B) -> C) -> impl Fn(A) -> C {
    move |x| g(f(x))
}

fn counter() -> Box<dyn FnMut() -> u32> {
    let mut n = 0;
    Box::new(move || {
        n += 1;
        n
    })
}

fn main() {
    let (a, b) = (Vector([1.0, 2.0, 3.0]), Vector([0.5; 3]));
    println!("{:?} {} {:?} {:?}", a + b, a * b, -a, Vector::<2>([0.0; 2]));
    println!("{} / {}", Dog.eat(Meat), Bird("owl".into()).eat(String::default()));
    println!("{} {} {}", 5.describe(), Some("x").describe(), [1.5].describe());
    println!("{}", (!Door::new().unlock()).unlock().0);
    println!("{} {:?}", Matrix(vec![vec![1, 2], vec![3, 4]])[(1, 0)], "cab".bytes().collect::<Wrapper>().iter().max());
    println!("{:?} {:?} {:?}", largest([3, 9, 4]), largest("hello".chars()), largest::<f64, _>([]));
    println!("{}", compose(|x: i32| x + 1, |y: i32| format!("[{y}]"))(41));
    let mut c = counter();
    println!("{} {} {}", c(), c(), c());
    let dynamic: Vec<(&str, Box<dyn Fn(f64) -> f64>)> = vec![("half", Box::new(|x| x / 2.0)), ("sqrt", Box::new(f64::sqrt))];
    println!("{:?}", dynamic.iter().map(|(n, f)| (*n, f(16.0))).collect::<BTreeMap<_, _>>());
    println!("{:>6}|{:<6}|{:^6}|{:#?}", Meat, Meat, Meat, (1, "t"));
    println!("{}", std::any::type_name::<Vector<4>>());
}
