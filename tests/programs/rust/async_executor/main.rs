// SPDX-License-Identifier: Apache-2.0
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};

struct Counter(AtomicU32);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

#[derive(Default, Clone)]
struct Executor {
    queue: Rc<RefCell<VecDeque<Task>>>,
}

impl Executor {
    fn spawn(&self, f: impl Future<Output = ()> + 'static) {
        self.queue.borrow_mut().push_back(Box::pin(f));
    }

    fn run(&self) -> u32 {
        let counter = Arc::new(Counter(AtomicU32::new(0)));
        let waker = Waker::from(Arc::clone(&counter));
        let mut cx = Context::from_waker(&waker);
        loop {
            let Some(mut task) = self.queue.borrow_mut().pop_front() else { break };
            if task.as_mut().poll(&mut cx).is_pending() {
                self.queue.borrow_mut().push_back(task);
            }
        }
        counter.0.load(Ordering::Relaxed)
    }
}

struct Channel<T>(Rc<RefCell<VecDeque<T>>>);

impl<T> Clone for Channel<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T> Channel<T> {
    async fn receive(&self) -> T {
        std::future::poll_fn(|cx| match self.0.borrow_mut().pop_front() {
            Some(v) => Poll::Ready(v),
            None => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        })
        .await
    }
}

fn main() {
    let ex = Executor::default();
    let numbers = Channel::<Option<u32>>(Rc::default());
    let log = Rc::new(RefCell::new(Vec::new()));
    for name in ["a", "b"] {
        let (numbers, log) = (numbers.clone(), Rc::clone(&log));
        ex.spawn(async move {
            while let Some(n) = numbers.receive().await {
                log.borrow_mut().push(format!("{name}{n}"));
            }
            log.borrow_mut().push(format!("{name} done"));
        });
    }
    let (tx, inner) = (numbers.clone(), ex.clone());
    ex.spawn(async move {
        for n in 1..=5 {
            tx.0.borrow_mut().push_back(Some(n));
            if n % 2 == 0 {
                let mut once = false;
                std::future::poll_fn(|_| if std::mem::replace(&mut once, true) { Poll::Ready(()) } else { Poll::Pending }).await;
            }
        }
        inner.spawn(async move { tx.0.borrow_mut().extend([None, None]) });
    });
    println!("wakes: {}", ex.run() > 0);
    println!("{}", log.borrow().join(" "));
}
