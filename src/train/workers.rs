//! Work side by side on threads that compute with one thread each: a number of tasks in, results in task order out.
//!
//! Which thread runs a task does not matter to its result: each computes alone, with libtorch's single-threaded
//! kernels. One limit: a task that never ends is waited for.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

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
                        Ok(()) => guarded(|| run(&mut state, task)),
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

/// tch panics where it has no fallible form; a candidate must not end the search with it.
fn guarded<R>(task: impl FnOnce() -> Result<R, Failure>) -> Result<R, Failure> {
    catch_unwind(AssertUnwindSafe(task)).unwrap_or_else(|panic| {
        Err(Failure::Libtorch { message: format!("panic in libtorch's wrapper: {}", text(&*panic)) })
    })
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
    fn each_worker_computes_with_one_thread() {
        let threads = side_by_side(vec![(), (), ()], 6, |(), _| Ok(tch::get_num_threads()));
        assert!(threads.iter().all(|count| *count == Ok(1)), "{threads:?}");
    }
}
