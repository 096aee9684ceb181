//! Many independent runs over the cores, in a fixed order whatever their timing.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

/// Threads and the time that they took.
#[derive(Debug)]
pub(super) struct Pool {
    threads: usize,
    start: Instant,
}

impl Pool {
    /// With so many threads; one per core where nobody says.
    pub(super) fn new(threads: Option<NonZeroUsize>) -> Self {
        let cores = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        #[expect(clippy::disallowed_methods, reason = "a shell that says how long its work took")]
        let start = Instant::now();
        Self { threads: threads.unwrap_or_else(cores).get(), start }
    }

    /// Runs `job` for every number below `count` and gives the results in the order of the numbers.
    ///
    /// A bar shows how far it is, where standard error is a terminal.
    pub(super) fn map<T: Send>(&self, what: &str, count: usize, job: impl Fn(usize) -> T + Sync) -> Vec<T> {
        let bar = ProgressBar::new(u64::try_from(count).expect("few runs"));
        let style = "{msg} {wide_bar} {pos}/{len}, {eta} left";
        bar.set_style(ProgressStyle::with_template(style).expect("a template that can be read"));
        bar.set_message(what.to_owned());
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return done;
                }
                done.push((number, job(number)));
                bar.inc(1);
            }
        };
        let mut results: Vec<(usize, T)> = thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads.min(count)).map(|_| scope.spawn(work)).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("no run panics")).collect()
        });
        bar.finish_and_clear();
        results.sort_by_key(|(number, _)| *number);
        results.into_iter().map(|(_, result)| result).collect()
    }

    /// Says on standard error how many decisions were taken, and how fast.
    pub(super) fn say(&self, decisions: u64) {
        use std::io::Write as _;
        let seconds = self.start.elapsed().as_secs_f64().max(1e-3);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let rate = decisions as f64 / seconds;
        let (threads, noun) = (self.threads, if self.threads == 1 { "thread" } else { "threads" });
        // Nobody is left to tell when standard error is gone.
        writeln!(
            std::io::stderr(),
            "{decisions} decisions in {seconds:.1} s on {threads} {noun}: {rate:.0} per second, with everything around them"
        )
        .ok();
    }
}
