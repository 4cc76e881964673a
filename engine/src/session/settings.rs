//! SET: what it knows, and what it only remembers.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use crate::error::Result;
use crate::plan::guard::OnError;
use crate::session::Inner;
use crate::session::jobs::ON_ERROR;

/// Settings that mean something, with what they mean.
const SETTINGS: [(&str, &str); 2] = [
    ("commit_interval", "how often the jobs created after it make their changes durable and visible, such as '1s'"),
    (
        ON_ERROR,
        "what the jobs created after it do with a row that an expression cannot be computed for: 'stop', the default, or 'null'",
    ),
];

impl Inner {
    /// All settings of this session.
    pub(super) fn settings(&self) -> BTreeMap<String, String> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Settings that a job created now keeps.
    pub(super) fn job_settings(&self) -> BTreeMap<String, String> {
        let known = |name: &str| SETTINGS.iter().any(|(known, _)| *known == name);
        self.settings().into_iter().filter(|(name, _)| known(name)).collect()
    }

    /// `SET name = value`. A name that means nothing here is remembered, for programs that set what other engines know;
    /// returns what to tell the user then.
    pub(super) fn set(&self, name: &str, value: &str) -> Result<Option<String>> {
        if name == "commit_interval" && crate::options::parse_duration(value).is_none() {
            return Err(crate::options::bad_value(name, value, "a duration such as '500ms' or '1s'"));
        }
        if name == ON_ERROR && OnError::from_setting(value).is_none() {
            return Err(crate::options::bad_value(name, value, "'stop' or 'null'"));
        }
        let notice = match SETTINGS.iter().any(|(known, _)| *known == name) {
            true => None,
            false => Some(match crate::options::nearest(name, SETTINGS.iter().map(|(known, _)| *known)) {
                Some(nearest) => {
                    format!("there is no setting named {name}, so it has no effect; did you mean {nearest}?")
                }
                None => format!("there is no setting named {name}, so it has no effect"),
            }),
        };
        let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        settings.insert(name.into(), value.into());
        Ok(notice)
    }
}
