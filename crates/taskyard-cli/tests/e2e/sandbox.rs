//! A project directory for each test, and the binary run in it with a clean environment.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Deadline of every wait in these tests.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The project directory of a test.
pub struct Sandbox {
    directory: TempDir,
    database: Option<String>,
}

/// Exit code and output of a command.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Sandbox {
    /// Creates an empty directory that is marked as a project's root.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(directory.path().join("taskyard.toml"), "").expect("it can be written");
        Self { directory, database: None }
    }

    /// Creates a project directory whose commands use this database.
    pub fn on(database: String) -> Self {
        Self { database: Some(database), ..Self::new() }
    }

    /// Returns the given database.
    pub fn database(&self) -> &str {
        self.database.as_deref().expect("it was given")
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Returns the command, not yet started.
    pub fn taskyard(&self, arguments: &[&str]) -> Command {
        self.command(Path::new(env!("CARGO_BIN_EXE_taskyard")), arguments)
    }

    /// Returns the command of an application that has a task of its own, `files::measure`.
    pub fn application(&self, arguments: &[&str]) -> Command {
        self.command(application(), arguments)
    }

    fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if ["TASKYARD_", "QUEUE", "DATABASE_URL", "RUST_"].iter().any(|prefix| name.starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        command.env("HOME", self.path().join("home")).env_remove("XDG_STATE_HOME");
        if let Some(database) = &self.database {
            command.env("TASKYARD_DATABASE_URL", database);
        }
        command
    }

    /// Runs the command to its end.
    pub fn run(&self, arguments: &[&str]) -> Said {
        said(&mut self.taskyard(arguments))
    }

    /// Runs the command, asserts exit code 0, and returns its output without the last line feed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let said = self.run(arguments);
        assert_eq!(said.code, 0, "{arguments:?}: {said:?}");
        said.stdout.trim_end().to_owned()
    }

    /// Runs the command with `--json`, asserts exit code 0, and returns the parsed output.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ok(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }

    /// Runs the command on a terminal of 80 columns and 40 lines. Of each pair of `typed`, the second is typed once the first is shown.
    pub fn on_terminal(&self, arguments: &[&str], environment: &[(&str, &str)], typed: &[(&str, &str)]) -> Said {
        let program = self.taskyard(arguments);
        let mut command = Command::new("python3");
        command.args(["-c", TERMINAL, &serde_json::to_string(typed).expect("texts are JSON")]);
        command.arg(program.get_program()).args(program.get_args()).current_dir(self.path()).stdin(Stdio::null());
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.env("TERM", "xterm").env_remove("NO_COLOR").envs(environment.iter().copied());
        said(&mut command)
    }

    /// Starts a server of the application and waits until it is running.
    pub fn server(&self, arguments: &[&str]) -> Running {
        let mut running = Running::start(&mut self.application(&[&["queue", "start"], arguments].concat()));
        running.until_stderr("the server runs");
        running
    }
}

/// Python script that runs a command on a pseudo-terminal, prints the terminal's output and exits with the command's exit code.
const TERMINAL: &str = "
import fcntl, json, os, pty, select, struct, sys, termios, time
typed, command = json.loads(sys.argv[1]), sys.argv[2:]
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack('HHHH', 40, 80, 0, 0))
    os.execv(command[0], command)
shown, seen, until = b'', 0, time.monotonic() + 60
while time.monotonic() < until:
    if select.select([terminal], [], [], 0.1)[0]:
        try:
            part = os.read(terminal, 65536)
        except OSError:
            break
        if not part:
            break
        shown += part
    if typed and typed[0][0].encode() in shown[seen:]:
        seen = len(shown)
        os.write(terminal, typed.pop(0)[1].encode())
else:
    os.kill(pid, 9)
sys.stdout.write(shown.decode().replace('\\r\\n', '\\n'))
sys.stdout.flush()
assert not typed, typed
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
";

/// Returns the program of `examples/files.rs`. `cargo test` builds it with everything else, but not for `--test e2e` alone.
fn application() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        // Built for the whole workspace, so that features are those of the tests' own build and nothing is built a second time.
        let build = ["build", "--quiet", "--workspace", "--example", "files"];
        let status = Command::new(env!("CARGO")).args(build).current_dir(env!("CARGO_MANIFEST_DIR")).status();
        assert!(status.expect("cargo starts").success(), "the application is built");
        Path::new(env!("CARGO_BIN_EXE_taskyard")).with_file_name("examples").join("files")
    })
}

/// Runs a command to its end, within the deadline.
pub fn said(command: &mut Command) -> Said {
    let Output { status, stdout, stderr } = command.output().expect("the command starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the command prints UTF-8");
    Said { code: status.code().unwrap_or(-1), stdout: text(stdout), stderr: text(stderr) }
}

/// A running command, which is killed when this is dropped.
pub struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    pub seen: Vec<String>,
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts");
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines, seen: Vec::new() }
    }

    /// Waits for a line of stderr that contains this text.
    pub fn until_stderr(&mut self, part: &str) {
        let until = Instant::now() + DEADLINE;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let found = line.contains(part);
                    self.seen.push(line);
                    if found {
                        return;
                    }
                }
                Err(error) => panic!("no `{part}` on stderr ({error}): {:#?}", self.seen),
            }
        }
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(status.expect("kill starts").success());
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the command to end, within the deadline; returns its exit status and stdout.
    pub fn end(mut self) -> (ExitStatus, String) {
        let mut stdout = self.child.stdout.take().expect("it is piped");
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stdout.read_to_string(&mut text);
            text
        });
        let mut status = None;
        eventually("the command ends", || {
            status = self.child.try_wait().expect("it can be waited for");
            status.is_some()
        });
        while let Ok(line) = self.lines.recv() {
            self.seen.push(line);
        }
        (status.expect("just seen"), reader.join().expect("it reads"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Polls until the condition holds, within the deadline.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < until, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
