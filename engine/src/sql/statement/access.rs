//! Statements about users and what they may do.

use std::fmt;

use catalog::Privilege;

use crate::error::Position;

/// A statement about users and their rights.
#[derive(Debug, Clone)]
pub enum AccessStatement {
    /// `CREATE USER`, `CREATE ROLE`, `ALTER USER`.
    PutUser(PutUser),
    /// `DROP USER`.
    DropUsers {
        /// Names.
        names: Vec<String>,
        /// `IF EXISTS`.
        if_exists: bool,
    },
    /// `GRANT`, `REVOKE`.
    Grant(GrantStatement),
    /// `ALTER TABLE | VIEW | MATERIALIZED VIEW | FUNCTION | JOB name OWNER TO user`.
    SetOwner {
        /// Object or job.
        name: String,
        /// It is a job.
        is_job: bool,
        /// The new owner.
        user: String,
    },
    /// `REASSIGN OWNED BY user TO user`.
    Reassign {
        /// Who owns it now.
        from: String,
        /// The new owner.
        to: String,
    },
}

/// `CREATE USER` or `ALTER USER`.
#[derive(Clone)]
pub struct PutUser {
    /// Name.
    pub name: String,
    /// `CREATE`: the user must not exist yet. Else it must.
    pub create: bool,
    /// `IF NOT EXISTS`.
    pub if_not_exists: bool,
    /// `SUPERUSER` or `NOSUPERUSER`, if it says so.
    pub superuser: Option<bool>,
    /// `PASSWORD 'text'` or `PASSWORD NULL`, if it says so. The text is a password, or what is stored for one.
    pub password: Option<Option<String>>,
}

/// Nothing that is printed shows a password.
impl fmt::Debug for PutUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PutUser").field("name", &self.name).field("superuser", &self.superuser).finish_non_exhaustive()
    }
}

/// `GRANT` or `REVOKE`.
#[derive(Debug, Clone)]
pub struct GrantStatement {
    /// `REVOKE`.
    pub revoke: bool,
    /// What is allowed; empty for ALL.
    pub privileges: Vec<Privilege>,
    /// What for.
    pub on: GrantOn,
    /// To whom; `None` is PUBLIC.
    pub users: Vec<Option<String>>,
}

/// What a grant is about.
#[derive(Debug, Clone)]
pub enum GrantOn {
    /// Tables and views.
    Objects(Vec<(String, Option<Position>)>),
    /// `ALL TABLES IN SCHEMA public`: the tables and views that there are now.
    All,
    /// `SCHEMA public`.
    Namespace,
}

/// What a privilege is called in SQL.
pub fn privilege_name(privilege: Privilege) -> &'static str {
    match privilege {
        Privilege::Select => "SELECT",
        Privilege::Insert => "INSERT",
        Privilege::Update => "UPDATE",
        Privilege::Delete => "DELETE",
        Privilege::Truncate => "TRUNCATE",
        Privilege::Create => "CREATE",
    }
}
