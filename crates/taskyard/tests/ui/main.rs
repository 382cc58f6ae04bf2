//! Tests the compiler messages of `#[task]` and `local!` for typical functions.
//!
//! `good/` contains functions that compile and run. Each file of `poor/` is a program with one mistake, with the
//! expected compiler output beside it: one error at the mistake, in a sentence that says what to write instead.
//!
//! The programs are compiled by `rustc` directly, in seconds, against the library that this test is linked with. A
//! harness that builds a package (`trybuild`) would check all dependencies again, which takes two minutes. Only
//! messages and positions of errors are compared, because the compiler's notes around them change between versions.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod good;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use serde_json::Value;

/// Environment variable to regenerate the `.stderr` files.
const WRITE: &str = "TASKYARD_WRITE_STDERR";

#[test]
fn poor_functions_get_one_sentence_where_the_mistake_is() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui/poor");
    let mut programs: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect();
    programs.sort();
    assert!(programs.len() >= 24, "{programs:?}");
    let (library, next, wrong) = (Library::find(), Mutex::new(programs.iter()), Mutex::new(String::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, std::num::NonZero::get) {
            scope.spawn(|| {
                loop {
                    let Some(program) = next.lock().unwrap().next() else { break };
                    let said = library.errors_of(program);
                    let expected = program.with_extension("stderr");
                    if std::env::var_os(WRITE).is_some() {
                        fs::write(&expected, &said).unwrap();
                    } else if fs::read_to_string(&expected).unwrap_or_default() != said {
                        let name = program.file_name().unwrap().to_string_lossy();
                        write!(wrong.lock().unwrap(), "\n{name} says\n{said}").unwrap();
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "other words than in the .stderr file ({WRITE}=1 writes it anew):\n{wrong}");
}

/// The library that this test is linked with.
struct Library {
    dependencies: PathBuf,
    taskyard: PathBuf,
    out: tempfile::TempDir,
}

impl Library {
    fn find() -> Self {
        let dependencies = std::env::current_exe().unwrap().parent().unwrap().to_owned();
        // Builds with other features are in the same directory. The newest one is up to date, or cargo would have built
        // another.
        let taskyard = fs::read_dir(&dependencies)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                let name = path.file_name().unwrap().to_string_lossy();
                name.starts_with("libtaskyard-") && name.ends_with(".rlib")
            })
            .max_by_key(|path| path.metadata().unwrap().modified().unwrap())
            .unwrap();
        Self { dependencies, taskyard, out: tempfile::tempdir().unwrap() }
    }

    /// Returns all errors and warnings of a program, two lines each.
    fn errors_of(&self, program: &Path) -> String {
        let output = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
            .args(["--edition=2024", "--crate-type=bin", "--emit=metadata", "--error-format=json", "--color=never"])
            .arg(format!("--extern=taskyard={}", self.taskyard.display()))
            .arg(format!("-Ldependency={}", self.dependencies.display()))
            .arg(format!("--out-dir={}", self.out.path().display()))
            .arg(program)
            .output()
            .unwrap();
        let mut said = String::new();
        for line in String::from_utf8(output.stderr).unwrap().lines() {
            let message: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
            let Some(span) = message["spans"].as_array().unwrap().iter().find(|span| span["is_primary"] == true) else {
                // The compiler's summary of the errors.
                continue;
            };
            let text = span["text"].as_array().unwrap().first().map_or("", |line| {
                let (start, end) = (column(line, "highlight_start"), column(line, "highlight_end"));
                line["text"].as_str().unwrap().get(start - 1..end - 1).unwrap()
            });
            let (line, level) = (&span["line_start"], message["level"].as_str().unwrap());
            writeln!(said, "{level} at {line}, `{text}`: {}", message["message"].as_str().unwrap()).unwrap();
            if let Some(label) = span["label"].as_str() {
                writeln!(said, "    {label}").unwrap();
            }
        }
        if output.status.success() {
            said.push_str("it compiles\n");
        }
        said
    }
}

fn column(line: &Value, name: &str) -> usize {
    usize::try_from(line[name].as_u64().unwrap()).unwrap()
}
