//! SET: what it knows, and what it only remembers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::Result;
use crate::hash::VNODES;
use crate::plan::guard::OnError;
use crate::runtime::placement::Bounds;
use crate::runtime::planning::ON_ERROR;

/// Statements that change rows return after all views reflect them.
const IMPLICIT_FLUSH: &str = "implicit_flush";
/// Another name that programs know it by.
const IMPLICIT_FLUSH_ALIAS: &str = "rw_implicit_flush";
/// How long a statement may run.
const STATEMENT_TIMEOUT: &str = "statement_timeout";

/// Settings that mean something, with what they mean.
const SETTINGS: [(&str, &str); 6] = [
    ("commit_interval", "how often the jobs created after it make their changes durable and visible, such as '1s'"),
    (
        ON_ERROR,
        "what the jobs created after it do with a row that an expression cannot be computed for: 'stop', the default, or 'null'",
    ),
    (PARALLELISM_MIN, "how many slots the jobs created after it need: with fewer they wait; 1 unless set"),
    (PARALLELISM_MAX, "how many slots the jobs created after it take at most; all that there are unless set"),
    (
        IMPLICIT_FLUSH,
        "whether INSERT, UPDATE, DELETE, MERGE and TRUNCATE return only after all views reflect them: 'true' or 'false', the default",
    ),
    (STATEMENT_TIMEOUT, "how long a statement may run, such as '30s', or a number of ms; 0 for no limit"),
];

/// Names and meanings of the settings that SET knows.
pub fn known_settings() -> impl Iterator<Item = (&'static str, &'static str)> {
    SETTINGS.into_iter()
}

/// The setting that says how many slots a job needs.
const PARALLELISM_MIN: &str = "parallelism.min";
/// The setting that says how many slots a job takes at most.
const PARALLELISM_MAX: &str = "parallelism.max";

fn slots(value: &str) -> Option<usize> {
    value.trim().parse().ok().filter(|slots| (1..=VNODES).contains(slots))
}

/// How many slots a job may have, by the settings that it keeps.
pub(super) fn parallelism(of_job: &BTreeMap<String, String>) -> Bounds {
    let set = |name| of_job.get(name).and_then(|value: &String| slots(value));
    let all = Bounds::default();
    all.and(Bounds { min: set(PARALLELISM_MIN).unwrap_or(all.min), max: set(PARALLELISM_MAX).unwrap_or(all.max) })
}

/// Those that a job keeps.
const OF_JOBS: [&str; 4] = ["commit_interval", ON_ERROR, PARALLELISM_MIN, PARALLELISM_MAX];

/// Who executes statements, and what they have set: a shell, a connection, a file that is run.
#[derive(Debug, Default)]
pub struct Settings {
    values: Arc<Mutex<BTreeMap<String, String>>>,
    /// `None`: whoever has the warehouse's files.
    user: Arc<Mutex<Option<String>>>,
    /// Where the user's relative paths start, unless where the engine's do.
    base_dir: Option<PathBuf>,
}

impl Settings {
    /// Nothing is set yet.
    pub(super) fn new(user: Option<String>, base_dir: Option<PathBuf>) -> Self {
        Self { values: Arc::default(), user: Arc::new(Mutex::new(user)), base_dir }
    }

    /// Who executes statements; `None` is whoever has the warehouse's files.
    pub(super) fn user(&self) -> Option<String> {
        self.user.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Goes on as another user; whoever has the files stays that.
    pub(super) fn become_user(&self, name: &str) {
        let mut user = self.user.lock().unwrap_or_else(PoisonError::into_inner);
        if user.is_some() {
            *user = Some(name.to_owned());
        }
    }

    /// The same settings, shared, for statements whose relative paths start elsewhere.
    pub(super) fn based_at(&self, base_dir: PathBuf) -> Self {
        Self { values: self.values.clone(), user: self.user.clone(), base_dir: Some(base_dir) }
    }

    /// Where the user's relative paths start, unless where the engine's do.
    pub(super) fn base_dir(&self) -> Option<&Path> {
        self.base_dir.as_deref()
    }

    fn values(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value that a setting was given.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        self.values().get(known_as(name)).cloned()
    }

    /// Settings that a job created now keeps.
    pub(super) fn for_jobs(&self) -> BTreeMap<String, String> {
        let values = self.values();
        let set = OF_JOBS.iter().filter_map(|name| values.get_key_value(*name));
        set.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// Whether changes are flushed before their statement returns.
    pub(super) fn implicit_flush(&self) -> bool {
        self.get(IMPLICIT_FLUSH).is_some_and(|value| boolean(&value) == Some(true))
    }

    /// How long a statement may run: `Some(None)` is no limit.
    pub(super) fn statement_timeout(&self) -> Option<Option<Duration>> {
        self.get(STATEMENT_TIMEOUT).and_then(|value| timeout(&value))
    }

    /// `RESET name`; `None` resets all.
    pub(super) fn reset(&self, name: Option<&str>) {
        match name {
            Some(name) => drop(self.values().remove(known_as(name))),
            None => self.values().clear(),
        }
    }

    /// `SET name = value`. A name that means nothing here is remembered, for programs that set what other engines know;
    /// returns what to tell the user then.
    pub(super) fn set(&self, name: &str, value: &str) -> Result<Option<String>> {
        let name = known_as(name);
        let good = match name {
            "commit_interval" => {
                crate::options::parse_duration(value).map(drop).ok_or("a duration such as '500ms' or '1s'")
            }
            ON_ERROR => OnError::from_setting(value).map(drop).ok_or("'stop' or 'null'"),
            PARALLELISM_MIN | PARALLELISM_MAX => slots(value).map(drop).ok_or("a number from 1 to 256"),
            STATEMENT_TIMEOUT => timeout(value).map(drop).ok_or("a duration such as '30s', or a number of ms"),
            IMPLICIT_FLUSH => boolean(value).map(drop).ok_or("'true' or 'false'"),
            _ => Ok(()),
        };
        good.map_err(|expected| crate::options::bad_value(name, value, expected))?;
        self.values().insert(name.into(), value.into());
        if SETTINGS.iter().any(|(known, _)| *known == name) {
            return Ok(None);
        }
        Ok(Some(match crate::options::nearest(name, SETTINGS.iter().map(|(known, _)| *known)) {
            Some(nearest) => format!("there is no setting named {name}, so it has no effect; did you mean {nearest}?"),
            None => format!("there is no setting named {name}, so it has no effect"),
        }))
    }
}

fn known_as(name: &str) -> &str {
    if name == IMPLICIT_FLUSH_ALIAS { IMPLICIT_FLUSH } else { name }
}

/// A duration; a number without unit is one of ms, as in PostgreSQL, and 0 no limit.
fn timeout(value: &str) -> Option<Option<Duration>> {
    let duration = match value.trim().parse() {
        Ok(ms) => Duration::from_millis(ms),
        Err(_) => crate::options::parse_duration(value)?,
    };
    Some((!duration.is_zero()).then_some(duration))
}

/// A value as PostgreSQL reads booleans.
fn boolean(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" | "1" => Some(true),
        "false" | "off" | "no" | "0" => Some(false),
        _ => None,
    }
}
