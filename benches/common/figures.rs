//! Figures of many samples, and of a process.

/// The value below which so many percent of sorted values lie; 0 of none.
pub(crate) fn percentile(sorted: &[f64], percent: usize) -> f64 {
    sorted.get((sorted.len() * percent).div_ceil(100).max(1) - 1).copied().unwrap_or(0.0)
}

/// A field of `/proc/PID/status`, in megabytes.
pub(crate) fn megabytes(status: &str, field: &str) -> f64 {
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kilobytes.expect("Linux says so") / 1024.0
}

/// User and system time of a process, from `/proc/PID/stat`; Linux counts hundredths.
pub(crate) fn cpu_seconds(stat: &str) -> f64 {
    let fields = stat.rsplit(") ").next().expect("a name in brackets").split(' ');
    fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}
