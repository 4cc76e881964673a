//! Users, as `pg_roles` shows them.

use std::fmt;

use async_trait::async_trait;
use datafusion_pg_catalog::pg_catalog::context::{PgCatalogContextProvider, Role};
use engine::session::Engine;

/// The users of a warehouse.
#[derive(Clone)]
pub struct Users(pub Engine);

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Users")
    }
}

#[async_trait]
impl PgCatalogContextProvider for Users {
    async fn roles(&self) -> Vec<String> {
        self.0.access().await.map(|access| access.users.keys().cloned().collect()).unwrap_or_default()
    }

    /// Of a name that [`Self::roles`] gave: there is an answer even if the user was dropped meanwhile.
    async fn role(&self, name: &str) -> Option<Role> {
        let user = self.0.access().await.ok().and_then(|access| access.users.get(name).cloned());
        let superuser = user.as_ref().is_some_and(|user| user.superuser);
        Some(Role {
            name: name.to_owned(),
            is_superuser: superuser,
            can_login: user.is_some_and(|user| user.verifier.is_some()),
            can_create_db: false,
            can_create_role: superuser,
            can_create_user: superuser,
            can_replication: false,
            grants: vec![],
            inherited_roles: vec![],
        })
    }
}
