//! One program under test: its log in a file, its life tied to the test's.

use std::ffi::{OsStr, OsString};
use std::fmt::{self, Display};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};

use super::why;

/// Runs the program given as arguments until it ends or standard input closes.
///
/// The test holds the other end of that pipe, so the program dies with the
/// test process however that ends: `Drop` does not run after a signal, an
/// abort or a time-out of the test runner, and a control plane that stays
/// behind takes a core of the machine. What ends a test may signal all of its
/// processes: the one that waits for the pipe has its work still to do.
const LEASH: &str = r#"
exec 3<&0
"$@" </dev/null 3<&- &
program=$!
echo "$program" >"$LEASH_PID"
exec 2>/dev/null
{ trap '' HUP INT TERM; read -r _ <&3; kill -9 "$program"; } &
watcher=$!
wait "$program"
status=$?
kill -9 "$watcher"
exit "$status"
"#;

/// How long a program may take to end after it was asked to. Those that finish
/// their requests first take seconds, a full machine takes the rest.
const END: Duration = Duration::from_mins(2);

/// How many lines of a log are worth reading in a failed test's output.
const TAIL_LINES: usize = 30;

/// How often a condition outside this process is looked at again. Short against
/// everything that is waited for, long against the cost of looking.
const POLL: Duration = Duration::from_millis(25);

/// Where programs run: the words before a command, such as those of `nsenter`.
/// Without any it is where the test runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place(pub(crate) Vec<OsString>);

impl Place {
    /// A command that runs there.
    pub(crate) fn command(&self, program: &str) -> Command {
        match self.0.split_first() {
            None => Command::new(program),
            Some((first, words)) => {
                let mut command = Command::new(first);
                command.args(words).arg(program);
                command
            }
        }
    }
}

/// A running program. Dropping it kills the program, and prints the end of its
/// log when the test is failing.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
    /// Holds the number of the program itself: `child` is what keeps it.
    pid: PathBuf,
    place: Place,
}

impl Process {
    /// Starts `program`, with everything it prints going to `NAME-NUMBER.log` in
    /// `dir`, which is also its working directory.
    pub(crate) fn start<I>(name: &'static str, dir: &Path, program: &Path, arguments: I) -> Result<Self>
    where
        I: IntoIterator<Item: AsRef<OsStr>>,
    {
        Self::start_in(Place::default(), name, dir, program, arguments)
    }

    /// The same in another place. What the place does to the working directory
    /// is its affair.
    pub(crate) fn start_in<I>(
        place: Place,
        name: &'static str,
        dir: &Path,
        program: &Path,
        arguments: I,
    ) -> Result<Self>
    where
        I: IntoIterator<Item: AsRef<OsStr>>,
    {
        why::listen();
        let (log, output) = new_log(dir, name)?;
        let pid = log.with_extension("pid");
        let child = place
            .command("sh")
            .args(["-c", LEASH, "leash"])
            .arg(program)
            .args(arguments)
            .current_dir(dir)
            .env("LEASH_PID", &pid)
            .stdin(Stdio::piped())
            .stdout(output.try_clone().context("sharing the log")?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        Ok(Self { name, child, log, pid, place })
    }

    /// Waits until `probe` finds something. Fails, with the end of the log, when
    /// the program ends first or when `limit` is over.
    pub(crate) async fn until<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut probe: impl AsyncFnMut() -> Option<T>,
    ) -> Result<T> {
        let found = async {
            loop {
                if let Some(found) = probe().await {
                    return found;
                }
                tokio::time::sleep(POLL).await;
            }
        };
        let child = &mut self.child;
        let ended = async {
            loop {
                if let Some(status) = child.try_wait().transpose() {
                    return status;
                }
                tokio::time::sleep(POLL).await;
            }
        };
        // Beside each other: a probe may hang on a port that is not the program's.
        let found = tokio::select! {
            found = found => Ok(found),
            status = ended => Err(anyhow!("it ended with {}", status.context("asking for its status")?)),
            () = tokio::time::sleep(limit) => Err(anyhow!("it did not within {limit:?}")),
        };
        found.map_err(|error| anyhow!("waiting for {} {what}: {error:#}\n{}", self.name, self.tail()))
    }

    /// Waits for a line of the log that contains `text`, and returns that line.
    pub(crate) async fn line(&mut self, text: &str, limit: Duration) -> Result<String> {
        let log = self.log.clone();
        self.until(&format!("to print '{text}'"), limit, async || {
            let written = fs::read_to_string(&log).ok()?;
            // The last line may be half written.
            let complete = &written[..written.rfind('\n')?];
            complete.lines().find(|line| line.contains(text)).map(str::to_owned)
        })
        .await
    }

    /// The number of the program, as it is called in its place.
    async fn number(&mut self) -> Result<String> {
        let file = self.pid.clone();
        let written = async || fs::read_to_string(&file).ok()?.strip_suffix('\n').map(str::to_owned);
        self.until("to run", END, written).await
    }

    /// A file of the program's folder under `/proc`, such as `status`.
    pub(crate) async fn proc_file(&mut self, name: &str) -> Result<String> {
        // Read in its place: elsewhere the number is another program's.
        let path = format!("/proc/{}/{name}", self.number().await?);
        let read = self.place.command("cat").arg(&path).output().context("running cat")?;
        ensure!(read.status.success(), "{path} of {}: {}", self.name, String::from_utf8_lossy(&read.stderr));
        String::from_utf8(read.stdout).with_context(|| format!("{path} is no text"))
    }

    /// Sends a signal, by its name without `SIG`, to the program.
    pub(crate) async fn signal(&mut self, signal: &str) -> Result<()> {
        let pid = self.number().await?;
        let sent = self.place.command("kill").args(["-s", signal, &pid]).status().context("running kill")?;
        ensure!(sent.success(), "{} took no {signal}: kill ended with {sent}", self.name);
        Ok(())
    }

    /// Stops the program, and waits until each of its threads has stopped: the signal alone is only a request.
    pub(crate) async fn freeze(&mut self) -> Result<()> {
        self.signal("STOP").await?;
        let pid = self.number().await?;
        let stopped = async {
            loop {
                let all = "cat /proc/$0/task/*/stat";
                let read =
                    self.place.command("sh").args(["-c", all, &pid]).output().context("running cat")?;
                let text = String::from_utf8_lossy(&read.stdout).into_owned();
                // The name before it stands in parentheses, and may hold any.
                let is_stopped =
                    |line: &str| line.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'));
                if !text.is_empty() && text.lines().all(is_stopped) {
                    return Ok(());
                }
                tokio::time::sleep(POLL).await;
            }
        };
        let stopped = tokio::time::timeout(END, stopped).await;
        stopped.map_err(|_| anyhow!("{} did not stop within {END:?}", self.name))?
    }

    /// Waits until the program has ended, after whatever made it end.
    pub(crate) async fn ended(&mut self) -> Result<ExitStatus> {
        let ended = async {
            loop {
                if let Some(status) = self.child.try_wait().transpose() {
                    return status;
                }
                tokio::time::sleep(POLL).await;
            }
        };
        let ended = tokio::time::timeout(END, ended).await;
        let status =
            ended.map_err(|_| anyhow!("{} did not end within {END:?}\n{}", self.name, self.tail()))?;
        status.context("asking for its status")
    }

    /// Asks the program to end, and waits until it has.
    pub(crate) async fn stop(&mut self) -> Result<ExitStatus> {
        self.signal("TERM").await?;
        self.ended().await
    }

    /// Ends the program as a power cut does, and waits until it is gone.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.signal("KILL").await?;
        self.ended().await?;
        Ok(())
    }

    /// Whether the log contains `text`.
    pub(crate) fn said(&self, text: &str) -> bool {
        fs::read_to_string(&self.log).is_ok_and(|written| written.contains(text))
    }

    /// The end of the log, for a person.
    fn tail(&self) -> Tail<'_> {
        Tail(self)
    }
}

/// A log that no other process of the folder writes: there may be several of one
/// name, beside each other or one after the other.
fn new_log(dir: &Path, name: &str) -> Result<(PathBuf, File)> {
    for number in 0.. {
        let log = dir.join(format!("{name}-{number}.log"));
        match File::create_new(&log) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => (),
            created => {
                let file = created.with_context(|| format!("creating {}", log.display()))?;
                return Ok((log, file));
            }
        }
    }
    unreachable!("numbers do not end")
}

/// The end of a process's log, under a line that says whose it is.
struct Tail<'a>(&'a Process);

impl Display for Tail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Process { name, log, .. } = self.0;
        let written = fs::read(log).unwrap_or_default();
        let written = String::from_utf8_lossy(&written);
        let lines: Vec<&str> = written.lines().collect();
        let shown = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        writeln!(f, "--- the last {} of {} lines of {name}", shown.len(), lines.len())?;
        shown.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl Drop for Process {
    #[expect(clippy::print_stderr, reason = "the log of a failed test is for the person who reads it")]
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // Waited for, so that the next test does not share the machine with it.
        // An error here is about a process that is gone.
        self.child.wait().ok();
        if std::thread::panicking() {
            eprint!("{}{}", why::failed(), self.tail());
        }
    }
}
