//! The project's secret, which signs serialised values: `TASKYARD_SECRET`, else a file in `.taskyard`, created on first use.
//!
//! A server withholds a configured secret from its worker processes and from the processes that they start. [`WITHHELD`] in
//! their environment prevents that they create another secret in the file. Programs of other projects (with another root) are
//! not affected and sign with their own secret. While the file does not exist, it is looked for at every use, because another
//! process of the project may create it at any time.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use taskyard_core::seal::{Key, Keys};
use taskyard_core::settings::Settings;
use taskyard_core::{Error, Result};

use crate::project::error::{Untrusted, file_error};
use crate::project::root::{Root, make_private};
use crate::project::text;

/// Environment variable with the project's root, set for worker processes whose server has a configured secret.
pub const WITHHELD: &str = "TASKYARD_SIGNED_BY_SERVER";

/// The keys of one project on this host.
#[derive(Debug)]
pub struct ProjectKeys {
    accepted: Vec<Key>,
    root: Root,
    /// Whether the project's secret is configured but withheld from this process.
    is_withheld: bool,
    /// The key to sign with, once it has been read.
    own: Mutex<Option<Key>>,
}

impl ProjectKeys {
    /// Creates the keys from `settings`. The directory `.taskyard` of `root` is created only when a secret must be stored there.
    ///
    /// # Errors
    /// [`Error::Setting`] if a secret is too short.
    pub fn new(settings: &Settings, root: &Root) -> Result<Self> {
        Self::beside(settings, root, std::env::var_os(WITHHELD).as_deref())
    }

    /// Creates the keys; `withheld` is the value of [`WITHHELD`] in the environment.
    fn beside(settings: &Settings, root: &Root, withheld: Option<&OsStr>) -> Result<Self> {
        let active = settings.secret.as_deref().map(Key::new).transpose()?;
        let accepted = settings.secrets_accepted.iter().map(|secret| Key::new(secret)).collect::<Result<_>>()?;
        let is_withheld = active.is_none() && withheld.is_some_and(|of| Path::new(of) == root.path);
        Ok(Self { accepted, root: root.clone(), is_withheld, own: Mutex::new(active) })
    }

    /// Returns the path of the secret's file after checking that it is trusted.
    fn path(&self) -> Result<PathBuf> {
        let path = self.root.own_directory().map_err(Untrusted::into_file)?.join("secret");
        self.root.check(&path).map_err(Untrusted::into_file)?;
        Ok(path)
    }

    /// Returns the configured key or the key in the file; `None` while the file does not exist.
    fn kept(&self) -> Result<Option<Key>> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if own.is_none() {
            let path = self.path()?;
            *own = match std::fs::read(&path) {
                Ok(bytes) => {
                    let wrong = |why| Error::File { path: path.display().to_string(), why, lost: false };
                    Some(Key::new(&text::decode(bytes).map_err(wrong)?)?)
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(file_error(&path, &error)),
            };
        }
        Ok(own.clone())
    }

    /// Creates the file atomically. If another process has created it already, its file is kept.
    fn make(path: &Path) -> io::Result<()> {
        let directory = path.parent().unwrap_or(path);
        make_private(directory)?;
        let draft = directory.join(format!("secret.{}", uuid::Uuid::new_v4()));
        let secret = format!("{}{}\n", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(secret.as_bytes())?;
        file.sync_all()?;
        let linked = std::fs::hard_link(&draft, path);
        std::fs::remove_file(&draft)?;
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }
}

impl Keys for ProjectKeys {
    fn active(&self) -> Result<Key> {
        if self.is_withheld {
            return Err(Error::Setting {
                name: "secret (TASKYARD_SECRET)".into(),
                why: "a worker, or a process that it has started, cannot sign serialised functions and values, because the server \
                      keeps the secret from workers; add the task in the body itself without `connection`, add a function of a \
                      module with plain arguments, or set the variable for this process"
                    .into(),
            });
        }
        if let Some(key) = self.kept()? {
            return Ok(key);
        }
        let path = self.path()?;
        Self::make(&path).map_err(|error| file_error(&path, &error))?;
        self.kept()?.ok_or_else(|| file_error(&path, &io::ErrorKind::NotFound.into()))
    }

    fn find(&self, id: &str) -> Option<Key> {
        let kept =
            || self.kept().inspect_err(|error| tracing::error!(%error, "the secret cannot be read")).ok().flatten();
        kept().filter(|key| key.id() == id).or_else(|| self.accepted.iter().find(|key| key.id() == id).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::root::make_directory;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_secret_is_made_once_and_shared() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join(".taskyard");
        let found = Root::above(root.path()).unwrap();
        let keys = || ProjectKeys::new(&Settings::default(), &found).unwrap();
        let (early, first, second) = (keys(), keys(), keys());
        assert!(early.find("0000000000000000").is_none() && !directory.exists(), "looking makes nothing");
        let key = first.active().unwrap();
        assert_eq!(second.active().unwrap(), key);
        assert_eq!(early.find(&key.id()), Some(key), "found although it was made later");
        let mode = std::fs::metadata(directory.join("secret")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 2, "no draft is left");
    }

    #[test]
    fn a_secret_that_an_editor_saved_is_the_same_or_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let found = Root::above(root.path()).unwrap();
        let with = |bytes: &[u8]| {
            std::fs::write(make_directory(&found).unwrap().join("secret"), bytes).unwrap();
            ProjectKeys::new(&Settings::default(), &found).unwrap().active()
        };
        let key = Key::new("the secret of today").unwrap();
        assert_eq!(with(b"\xEF\xBB\xBFthe secret of today\r\n"), Ok(key));
        let utf16: Vec<u8> = "the secret of today".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(with(&utf16).unwrap_err().to_string().contains("UTF-16"));
    }

    #[test]
    fn a_given_secret_signs_and_former_ones_are_accepted() {
        let root = tempfile::tempdir().unwrap();
        let settings = Settings {
            secret: Some("the secret of today".into()),
            secrets_accepted: vec!["the secret of yesterday".into()],
            ..Settings::default()
        };
        let found = Root::above(root.path()).unwrap();
        let keys = ProjectKeys::new(&settings, &found).unwrap();
        assert_eq!(keys.active().unwrap(), Key::new("the secret of today").unwrap());
        assert!(keys.find(&Key::new("the secret of yesterday").unwrap().id()).is_some());
        assert!(!root.path().join(".taskyard").exists());
        assert!(ProjectKeys::new(&Settings { secret: Some("short".into()), ..settings }, &found).is_err());
    }

    #[test]
    fn a_secret_is_withheld_from_its_own_project_alone() {
        let [of_server, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let keys = |root: &Path, settings: &Settings| {
            let root = Root::above(root).unwrap();
            ProjectKeys::beside(settings, &root, Some(of_server.path().as_os_str())).unwrap()
        };
        let refused = keys(of_server.path(), &Settings::default()).active().unwrap_err().to_string();
        assert!(refused.contains("keeps the secret from workers"), "{refused}");
        assert!(!of_server.path().join(".taskyard").exists());
        let given = Settings { secret: Some("the secret of today".into()), ..Settings::default() };
        keys(of_server.path(), &given).active().unwrap();
        keys(other.path(), &Settings::default()).active().unwrap();
        assert!(other.path().join(".taskyard/secret").exists());
    }

    #[test]
    fn a_secret_of_another_user_or_that_everybody_may_write_signs_nothing() {
        let root = tempfile::tempdir().unwrap();
        let found = Root::above(root.path()).unwrap();
        ProjectKeys::new(&Settings::default(), &found).unwrap().active().unwrap();
        let secret = root.path().join(".taskyard/secret");
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o666)).unwrap();
        let refused = ProjectKeys::new(&Settings::default(), &found).unwrap().active().unwrap_err().to_string();
        assert!(refused.contains("everybody may write") && refused.contains("--root "), "{refused}");
        let named = Root::named(root.path()).unwrap();
        ProjectKeys::new(&Settings::default(), &named).unwrap().active().unwrap();
        // Only root can change a file's owner.
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
        if std::os::unix::fs::chown(&secret, Some(65_534), None).is_ok() {
            let refused = ProjectKeys::new(&Settings::default(), &found).unwrap().active().unwrap_err().to_string();
            assert!(refused.contains("belongs to") && refused.contains("--root "), "{refused}");
        }
    }
}
