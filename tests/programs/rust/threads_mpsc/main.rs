// SPDX-License-Identifier: Apache-2.0
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, TrySendError};
use std::sync::{Arc, Barrier, Condvar, Mutex, OnceLock, RwLock};
use std::thread;
use std::time::Duration;

static STARTED: AtomicUsize = AtomicUsize::new(0);
static CONFIG: OnceLock<String> = OnceLock::new();

thread_local! {
    static SEEN: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

fn main() {
    let (jobs_tx, jobs_rx) = mpsc::sync_channel::<u64>(4);
    let jobs_rx = Arc::new(Mutex::new(jobs_rx));
    let (out_tx, out_rx) = mpsc::channel();
    let barrier = Arc::new(Barrier::new(3));
    let workers: Vec<_> = (0..3)
        .map(|i| {
            let (jobs, out, barrier) = (Arc::clone(&jobs_rx), out_tx.clone(), Arc::clone(&barrier));
            thread::Builder::new()
                .name(format!("worker-{i}"))
                .spawn(move || {
                    STARTED.fetch_add(1, Ordering::SeqCst);
                    barrier.wait();
                    CONFIG.get_or_init(|| "set once".into());
                    loop {
                        let Ok(n) = jobs.lock().unwrap().recv() else { break };
                        SEEN.set(SEEN.get() + 1);
                        out.send((n, n.to_string().bytes().map(|b| u64::from(b - b'0').pow(2)).sum::<u64>())).unwrap();
                    }
                    SEEN.get()
                })
                .unwrap()
        })
        .collect();
    drop(out_tx);
    (100..140).for_each(|n| jobs_tx.send(n).unwrap());
    drop(jobs_tx);
    let table: BTreeMap<_, _> = out_rx.iter().collect();
    let handled: u32 = workers.into_iter().map(|w| w.join().unwrap()).sum();
    println!("{} {handled} {:?} {}", table.len(), table.range(120..124).collect::<Vec<_>>(), table.values().sum::<u64>());
    println!("{} {:?} here {}", STARTED.load(Ordering::SeqCst), CONFIG.get(), SEEN.get());

    let pair = (Mutex::new(Vec::new()), Condvar::new());
    thread::scope(|s| {
        for me in 0..3usize {
            let pair = &pair;
            s.spawn(move || {
                for _ in 0..4 {
                    let mut log = pair.1.wait_while(pair.0.lock().unwrap(), |l: &mut Vec<usize>| l.len() % 3 != me).unwrap();
                    log.push(me);
                    pair.1.notify_all();
                }
            });
        }
    });
    println!("{:?}", pair.0.into_inner().unwrap());

    let shared = RwLock::new(vec![1, 2, 3]);
    let sums: Vec<i32> = thread::scope(|s| {
        let handles: Vec<_> = (1..=3).map(|k| s.spawn({ let shared = &shared; move || shared.read().unwrap().iter().map(|x| x * k).sum() })).collect();
        handles.into_iter().map(|h| h.join().unwrap()).collect()
    });
    shared.write().unwrap().push(4);
    println!("{sums:?} {shared:?}");

    let (tx, rx) = mpsc::sync_channel(1);
    tx.try_send(1).unwrap();
    println!("{:?}", matches!(tx.try_send(2), Err(TrySendError::Full(2))));
    println!("{:?} {:?}", rx.recv(), rx.recv_timeout(Duration::from_millis(5)) == Err(RecvTimeoutError::Timeout));
    let poisoned = Arc::new(Mutex::new(0));
    let p = Arc::clone(&poisoned);
    let r = thread::Builder::new().name("doomed".into()).spawn(move || {
        let mut guard = p.lock().unwrap();
        *guard = 5;
        panic!("while holding the lock: {}", *guard);
    }).unwrap().join();
    println!("{:?} {} {}", r.unwrap_err().downcast_ref::<String>(), poisoned.is_poisoned(), poisoned.lock().unwrap_err().into_inner());
}
