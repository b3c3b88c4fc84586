// SPDX-License-Identifier: Apache-2.0
use std::cmp::Reverse;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, LinkedList, VecDeque};
use std::ops::Bound;

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Clone, Copy)]
enum Level {
    Low = 1,
    High = 10,
}

#[derive(Debug)]
struct Lru<const N: usize> {
    order: VecDeque<u32>,
    values: HashMap<u32, String>,
}

impl<const N: usize> Lru<N> {
    fn get(&mut self, k: u32) -> Option<&str> {
        let at = self.order.iter().position(|x| *x == k)?;
        let k = self.order.remove(at)?;
        self.order.push_front(k);
        self.values.get(&k).map(String::as_str)
    }

    fn put(&mut self, k: u32, v: impl Into<String>) {
        if self.values.insert(k, v.into()).is_none() {
            self.order.push_front(k);
            if self.order.len() > N
                && let Some(old) = self.order.pop_back()
            {
                self.values.remove(&old);
            }
        }
    }
}

fn dijkstra(edges: &[(u32, u32, u32)], from: u32) -> BTreeMap<u32, (u32, Vec<u32>)> {
    let mut done = BTreeMap::new();
    let mut heap = BinaryHeap::from([Reverse((0, vec![from]))]);
    while let Some(Reverse((cost, path))) = heap.pop() {
        let at = *path.last().unwrap();
        if let Entry::Vacant(e) = done.entry(at) {
            e.insert((cost, path.clone()));
            for &(_, to, w) in edges.iter().filter(|e| e.0 == at) {
                heap.push(Reverse((cost + w, path.iter().copied().chain([to]).collect())));
            }
        }
    }
    done
}

fn main() {
    for (node, (cost, path)) in dijkstra(&[(1, 2, 7), (1, 3, 9), (1, 6, 14), (2, 4, 15), (3, 4, 11), (3, 6, 2), (6, 5, 9), (4, 5, 6)], 1) {
        println!("{node}: {cost:>2} via {path:?}");
    }
    let mut cache = Lru::<2> { order: VecDeque::new(), values: HashMap::new() };
    cache.put(1, "one");
    cache.put(2, "two");
    println!("{:?}", cache.get(1));
    cache.put(3, "three");
    println!("{:?}", cache.get(2));
    println!("{:?}", cache.get(3));
    println!("{:?}", cache.order);
    let mut index: BTreeMap<char, BTreeSet<&str>> = BTreeMap::new();
    for w in "pear plum apple fig peach apricot".split(' ') {
        index.entry(w.chars().next().unwrap()).or_default().insert(w);
    }
    println!("{index:#?}");
    println!("{:?} {:?}", index.first_key_value().map(|(k, v)| (k, v.len())), index.range((Bound::Excluded('a'), Bound::Unbounded)).map(|(k, _)| k).collect::<String>());
    let mut heap: BinaryHeap<_> = [(Level::Low, 3), (Level::High, 1), (Level::Low, 9)].into();
    println!("{:?} {:?} {}", heap.pop(), heap.into_sorted_vec(), Level::High as u8);
    let mut list: LinkedList<_> = (1..4).collect();
    list.append(&mut LinkedList::from([9, 8]));
    list.push_front(0);
    println!("{list:?} {:?}", list.clone().split_off(4));
    let mut ring: VecDeque<_> = (0..6).collect();
    ring.rotate_left(2);
    ring.retain(|n| n % 2 == 0);
    ring.make_contiguous().reverse();
    println!("{ring:?} {:?}", ring.get(7));
    let seen: HashSet<_> = ["a", "b", "a"].into();
    println!("{} {:?}", seen.len(), HashMap::from([(Level::Low, [1u8; 3])])[&Level::Low]);
    let mut v: Vec<i32> = Vec::with_capacity(10);
    v.extend_from_slice(&[5, 6, 7]);
    v.insert(1, 42);
    v.swap_remove(0);
    v.splice(1..2, [100, 200]);
    println!("{v:?} {:?} {} {:?}", v.iter().position(|n| *n == 200), v.capacity() >= 10, v.split_first());
}
