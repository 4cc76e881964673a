//! A PostgreSQL server for tests: of its own, in a temporary directory, reached over a socket in it.

use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tempfile::TempDir;

use crate::sql::postgres::PostgresUrl;

/// Stopped when dropped.
pub struct Server {
    directory: TempDir,
    programs: PathBuf,
    schemas: AtomicU64,
}

impl Server {
    /// The server of all tests that run at the same time.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// A server of one's own.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        if is_root() {
            let nobody = output(Command::new("id").args(["-u", "nobody"]));
            chown(directory.path(), Some(nobody.trim().parse().unwrap()), None).unwrap();
        }
        let server = Self { directory, programs: programs(), schemas: AtomicU64::new(0) };
        let data = server.data();
        server.run("initdb", &["-D", &data, "-U", "frazil", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]);
        server.resume();
        server
    }

    /// Starts it again.
    pub fn resume(&self) {
        let (data, socket) = (self.data(), self.directory.path().display());
        let log = format!("{socket}/log");
        // No machine is going to lose power: what a process wrote is there after it died.
        let settings =
            format!("-c listen_addresses='' -c unix_socket_directories='{socket}' -c max_connections=200 -c fsync=off");
        self.run("pg_ctl", &["-D", &data, "-w", "-l", &log, "-o", &settings, "start"]);
    }

    /// Stops it in the midst of whatever it does, as a loss of power would.
    pub fn crash(&self) {
        self.run("pg_ctl", &["-D", &self.data(), "-w", "-m", "immediate", "stop"]);
    }

    /// A schema that nobody else uses.
    pub fn fresh(&self) -> PostgresUrl {
        self.url(&format!("test_{}", self.schemas.fetch_add(1, Ordering::Relaxed)), "postgres").unwrap()
    }

    /// A schema of a database.
    pub fn url(&self, schema: &str, database: &str) -> crate::Result<PostgresUrl> {
        PostgresUrl::parse(&self.text(schema, database))
    }

    /// The same as text, for other processes.
    pub fn text(&self, schema: &str, database: &str) -> String {
        format!("postgres:///{database}?user=frazil&host={}&schema={schema}", self.directory.path().display())
    }

    fn data(&self) -> String {
        self.directory.path().join("data").display().to_string()
    }

    /// Runs one of PostgreSQL's programs, as a user that it accepts.
    fn run(&self, program: &str, arguments: &[&str]) {
        let program = self.programs.join(program);
        let mut command = match is_root() {
            true => {
                let mut command = Command::new("runuser");
                command.args(["-u", "nobody", "--"]).arg(program);
                command
            }
            false => Command::new(program),
        };
        // What the server inherits would keep a pipe open as long as it runs.
        let (told, err) = (self.directory.path().join("told"), self.directory.path().join("err"));
        command.stdout(std::fs::File::create(told).unwrap()).stderr(std::fs::File::create(&err).unwrap());
        let status = command.args(arguments).current_dir("/").status().unwrap();
        assert!(status.success(), "{command:?}: {}", std::fs::read_to_string(err).unwrap());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.crash();
    }
}

fn is_root() -> bool {
    Path::new("/proc/self").metadata().is_ok_and(|me| me.uid() == 0)
}

fn output(command: &mut Command) -> String {
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

/// Debian keeps the programs of every version in a directory of its own, outside the PATH.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let version = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let debian = versions.map(|entry| entry.path()).max_by_key(version).map(|path| path.join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = debian.into_iter().chain(std::env::split_paths(&path));
    places.find(|place| place.join("initdb").exists()).expect("these tests need PostgreSQL: apt-get install postgresql")
}
