//! A process that outlives the test process briefly: it waits until its standard input ends, then stops the server
//! whose data are in a directory and deletes the directory.
//!
//! Only the test process has the pipe's other end (closed on exec), so it ends when that process drops it, exits, or is
//! killed. The watchdog is in a process group of its own: Ctrl-C in a terminal does not reach it before its work is
//! done.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const SCRIPT: &str = r#"
trap '' HUP INT TERM
cat > /dev/null
file="$1/data/postmaster.pid"
if [ -f "$file" ]; then
    pid=$(head -n 1 "$file")
    # A stale file may name a process that is not ours: the server's working directory is its data directory.
    if [ ! -d /proc/self ] || [ "$(readlink "/proc/$pid/cwd")" = "$1/data" ]; then
        kill -QUIT "$pid" 2> /dev/null
        tries=0
        while [ -f "$file" ] && [ "$tries" -lt 200 ]; do sleep 0.05; tries=$((tries + 1)); done
    fi
fi
rm -rf "$1"
"#;

#[derive(Debug)]
pub(super) struct Watchdog(Child);

impl Watchdog {
    pub(super) fn over(directory: &Path) -> Self {
        let child = Command::new("sh")
            .args(["-c", SCRIPT, "taskyard-test-watchdog"])
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("every system that runs these tests has `sh`");
        Self(child)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
