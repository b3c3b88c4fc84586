// SPDX-License-Identifier: Apache-2.0
use std::borrow::Cow;
use std::cell::{Cell, OnceCell, RefCell};
use std::rc::{Rc, Weak};

struct Words<'t> {
    text: &'t str,
}

impl<'t> Words<'t> {
    fn longest<'s>(&'s self) -> Option<&'t str> {
        self.text.split_whitespace().max_by_key(|w| w.chars().count())
    }
}

#[derive(Debug)]
struct Node {
    name: String,
    parent: RefCell<Weak<Node>>,
    children: RefCell<Vec<Rc<Node>>>,
}

impl Node {
    fn new(name: &str, children: Vec<Rc<Node>>) -> Rc<Node> {
        let node = Rc::new(Node { name: name.into(), parent: RefCell::default(), children: RefCell::new(children) });
        for c in node.children.borrow().iter() {
            *c.parent.borrow_mut() = Rc::downgrade(&node);
        }
        node
    }

    fn path(self: &Rc<Self>) -> String {
        match self.parent.borrow().upgrade() {
            Some(p) => p.path() + "/" + &self.name,
            None => self.name.clone(),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        println!("drop {}", self.name);
    }
}

fn clean(s: &str) -> Cow<'_, str> {
    if s.contains('\t') { s.replace('\t', "  ").into() } else { s.into() }
}

struct Stack<T> {
    head: Option<Box<Item<T>>>,
    len: usize,
}

struct Item<T> {
    value: T,
    next: Option<Box<Item<T>>>,
}

impl<T> Stack<T> {
    const EMPTY: Self = Stack { head: None, len: 0 };

    fn push(&mut self, value: T) {
        let next = self.head.take();
        self.head = Some(Box::new(Item { value, next }));
        self.len += 1;
    }

    fn reverse(&mut self) {
        let mut done = None;
        while let Some(mut item) = self.head.take() {
            self.head = std::mem::replace(&mut item.next, done);
            done = Some(item);
        }
        self.head = done;
    }

    fn iter(&self) -> impl Iterator<Item = &T> {
        std::iter::successors(self.head.as_deref(), |i| i.next.as_deref()).map(|i| &i.value)
    }

    fn iter_mut(&mut self) -> IterMut<'_, T> {
        IterMut(self.head.as_deref_mut())
    }
}

struct IterMut<'a, T>(Option<&'a mut Item<T>>);

impl<'a, T> Iterator for IterMut<'a, T> {
    type Item = &'a mut T;
    fn next(&mut self) -> Option<&'a mut T> {
        self.0.take().map(|i| {
            self.0 = i.next.as_deref_mut();
            &mut i.value
        })
    }
}

union Bits {
    f: f32,
    u: u32,
}

fn main() {
    let text = String::from("short longer löngest mid");
    let found = Words { text: &text }.longest();
    println!("{found:?}");
    let leaf = Node::new("leaf", vec![]);
    {
        let root = Node::new("root", vec![Node::new("branch", vec![Rc::clone(&leaf)])]);
        println!("{} strong {} weak {} | {}", leaf.path(), Rc::strong_count(&leaf), Rc::weak_count(&root), root.children.borrow().len());
    }
    println!("{} {}", leaf.path(), leaf.parent.borrow().upgrade().is_none());
    for s in ["plain", "with\ttab"] {
        let c = clean(s);
        println!("{c} {}", matches!(c, Cow::Borrowed(_)));
    }
    let mut s = Stack::EMPTY;
    (1..=5).for_each(|n| s.push(n * n));
    s.reverse();
    s.iter_mut().for_each(|v| *v += 1);
    println!("{:?} {}", s.iter().collect::<Vec<_>>(), s.len);
    let (cell, once) = (Cell::new(3), OnceCell::new());
    cell.set(cell.get() * 2);
    println!("{} {} {:?}", cell.replace(0), once.get_or_init(|| "first"), once.set("second"));
    let b = Bits { f: -0.15625 };
    println!("{:#034b} {}", unsafe { b.u }, u32::from_be_bytes([0, 0, 1, 2]));
    println!("{} {} {}", size_of::<Option<Box<u8>>>(), align_of::<u64>(), size_of::<(u8, u32, u8)>());
    let shared = RefCell::new(vec![1]);
    let _guard = shared.borrow();
    println!("{:?}", shared.try_borrow_mut().is_err());
    shared.borrow_mut().push(2);
}
