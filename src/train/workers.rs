//! Work side by side on threads that compute with one thread each: a number of tasks in, results in task
//! order out.
//!
//! Which thread runs a task does not matter to its result: each computes alone, with libtorch's
//! single-threaded kernels. One limit: a task that never ends is waited for.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once};

use super::{Failure, shim};

/// Run tasks `0..count` on one thread per state; a panic in a task is that task's failure.
pub(crate) fn side_by_side<S: Send, R: Send>(
    states: Vec<S>,
    count: usize,
    run: impl Fn(&mut S, usize) -> Result<R, Failure> + Sync,
) -> Vec<Result<R, Failure>> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<Option<Result<R, Failure>>>> = Mutex::new((0..count).map(|_| None).collect());
    std::thread::scope(|scope| {
        for mut state in states {
            let (next, results, run) = (&next, &results, &run);
            scope.spawn(move || {
                let ready = shim::single_thread();
                loop {
                    let task = next.fetch_add(1, Ordering::Relaxed);
                    if task >= count {
                        break;
                    }
                    let result = match &ready {
                        // A task before may have ended in a panic with gradients off.
                        Ok(()) => guarded(|| tch::with_grad(|| run(&mut state, task))),
                        Err(error) => Err(Failure::Libtorch { message: error.to_string() }),
                    };
                    // A thread that panicked while it held the lock has stored nothing half-way.
                    let mut results = results.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    results[task] = Some(result);
                }
            });
        }
    });
    let results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let lost = || Err(Failure::Libtorch { message: "no worker took the task".to_owned() });
    results.into_iter().map(|result| result.unwrap_or_else(lost)).collect()
}

/// Run one task on a thread of its own, which computes with one thread.
pub(crate) fn alone<R: Send>(run: impl Fn() -> Result<R, Failure> + Sync) -> Result<R, Failure> {
    let none = || Err(Failure::Libtorch { message: "no result".to_owned() });
    side_by_side(vec![()], 1, |(), _| run()).pop().unwrap_or_else(none)
}

/// tch panics where it has no fallible form, and where a function that takes a number fails (its `Scalar`
/// meets the pending error as it is dropped). Neither must end the search, or write to the terminal.
fn guarded<R>(task: impl FnOnce() -> Result<R, Failure>) -> Result<R, Failure> {
    quiet_panics();
    GUARDED.set(true);
    let result = catch_unwind(AssertUnwindSafe(task));
    GUARDED.set(false);
    result.unwrap_or_else(|panic| {
        let text = text(&*panic);
        // `called `Result::unwrap()` on an `Err` value: Torch("...")`
        Err(Failure::of_text(text.split_once("Torch(\"").map_or(text.as_str(), |(_, message)| message)))
    })
}

thread_local! {
    /// Whether a panic of this thread becomes a [`Failure`], and so need not be reported.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Keep the panic hook as it is, except on guarded threads.
fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                before(info);
            }
        }));
    });
}

fn text(panic: &(dyn Any + Send)) -> String {
    let owned = panic.downcast_ref::<String>().cloned();
    owned.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_task_order_and_a_panic_fails_its_task_only() {
        let results = side_by_side(vec![(), ()], 5, |(), task| {
            assert!(task != 3, "task three");
            Ok(task * 10)
        });
        assert_eq!(results[..3], [Ok(0), Ok(10), Ok(20)]);
        assert!(matches!(&results[3], Err(Failure::Libtorch { message }) if message.contains("task three")));
        assert_eq!(results[4], Ok(40));
    }

    #[test]
    fn a_panic_with_gradients_off_leaves_them_on_for_the_next_task() {
        let results = side_by_side(vec![()], 2, |(), task| {
            let weight = tch::Tensor::ones([2], (tch::Kind::Float, tch::Device::Cpu)).set_requires_grad(true);
            let sum = |weight: &tch::Tensor| weight.sum(tch::Kind::Float).requires_grad();
            if task == 0 {
                tch::no_grad(|| panic!("{}", sum(&weight)));
            }
            Ok(sum(&weight))
        });
        assert_eq!(results[0], Err(Failure::Libtorch { message: "false".to_owned() }));
        assert_eq!(results[1], Ok(true));
    }

    #[test]
    fn each_worker_computes_with_one_thread() {
        let threads = side_by_side(vec![(), (), ()], 6, |(), _| Ok(tch::get_num_threads()));
        assert!(threads.iter().all(|count| *count == Ok(1)), "{threads:?}");
    }
}
