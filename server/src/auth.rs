//! Who may come in: users with their passwords; while the warehouse has no users, anybody of this machine.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use catalog::{Access, Clock};
use engine::access::password::Verifier;
use sha2::{Digest, Sha256};

/// How long a token is good for.
pub const TOKEN_LIFE: Duration = Duration::from_secs(3600);
/// Tokens that are good at one time. Beyond it the oldest ends.
const MOST_TOKENS: usize = 10_000;

/// What somebody who says who they are has to do.
#[derive(Debug)]
pub enum Entry {
    /// Nothing: there are no users.
    Open,
    /// Prove that they have the password.
    Password(Verifier),
    /// They stay outside: there are no users, and they are on another machine.
    Closed,
}

/// Keeps what is needed to tell users from others.
#[derive(Debug)]
pub struct Door {
    clock: Arc<dyn Clock>,
    /// By it names under which there is no user look as if there were one.
    secret: [u8; 32],
    /// Passwords that fitted, by user: hashing one takes milliseconds, and some protocols send it with every request.
    fitted: Mutex<HashMap<String, Fitted>>,
    tokens: Mutex<HashMap<String, Token>>,
}

/// A password that fitted a verifier.
#[derive(Debug)]
struct Fitted {
    verifier: String,
    /// Of the secret and the password: the password itself is nowhere kept.
    digest: [u8; 32],
}

/// What stands for a user and a password for a while.
#[derive(Debug)]
struct Token {
    user: String,
    /// It ends when the password changes.
    verifier: Option<String>,
    /// By the clock's monotonic time.
    until: Duration,
}

impl Door {
    /// Knows nobody yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let secret = clock.secret();
        Self { clock, secret, fitted: Mutex::default(), tokens: Mutex::default() }
    }

    /// What a client at `peer` has to do to come in under this name.
    pub fn entry(&self, access: &Access, user: &str, peer: IpAddr) -> Entry {
        if access.users.is_empty() {
            return if peer.to_canonical().is_loopback() { Entry::Open } else { Entry::Closed };
        }
        let verifier = access.users.get(user).and_then(|user| Verifier::parse(user.verifier.as_deref()?));
        Entry::Password(verifier.unwrap_or_else(|| Verifier::unmatched(user, &self.secret)))
    }

    /// Whether this is the user's password.
    pub fn fits(&self, access: &Access, user: &str, password: &str) -> bool {
        let stored = access.users.get(user).and_then(|user| user.verifier.as_deref());
        if let Some(known) = lock(&self.fitted).get(user)
            && stored == Some(&known.verifier)
            && known.digest == self.digest(password)
        {
            return true;
        }
        let unmatched = || Verifier::unmatched(user, &self.secret);
        let fits = stored.and_then(Verifier::parse).unwrap_or_else(unmatched).fits(password);
        if let Some(stored) = stored.filter(|_| fits) {
            let fitted = Fitted { verifier: stored.to_owned(), digest: self.digest(password) };
            lock(&self.fitted).insert(user.to_owned(), fitted);
        }
        fits
    }

    fn digest(&self, password: &str) -> [u8; 32] {
        Sha256::new_with_prefix(self.secret).chain_update(password).finalize().into()
    }

    /// Text that nobody can foretell, in printable ASCII without commas.
    pub fn nonce(&self) -> String {
        self.clock.secret().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A token for a user who has come in.
    pub fn token(&self, access: &Access, user: &str) -> String {
        let text = self.nonce();
        let now = self.clock.monotonic();
        let verifier = access.users.get(user).and_then(|user| user.verifier.clone());
        let mut tokens = lock(&self.tokens);
        tokens.retain(|_, token| token.until > now);
        if tokens.len() >= MOST_TOKENS
            && let Some(oldest) = tokens.iter().min_by_key(|(_, token)| token.until).map(|(text, _)| text.clone())
        {
            tokens.remove(&oldest);
        }
        tokens.insert(text.clone(), Token { user: user.to_owned(), verifier, until: now + TOKEN_LIFE });
        text
    }

    /// Whose token it is, if it is one and still good.
    pub fn bearer(&self, access: &Access, token: &str) -> Option<String> {
        let tokens = lock(&self.tokens);
        let token = tokens.get(token).filter(|token| token.until > self.clock.monotonic())?;
        let verifier = access.users.get(&token.user).map(|user| user.verifier.clone());
        (verifier == Some(token.verifier.clone())).then(|| token.user.clone())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use catalog::{ManualClock, User};

    use super::*;

    fn access(password: &str) -> Access {
        let verifier = Some(Verifier::new(password, b"salt").to_string());
        let user = User { name: "ann".into(), superuser: true, verifier };
        Access { users: [("ann".to_owned(), user)].into(), ..Access::default() }
    }

    #[test]
    fn without_users_only_this_machine_comes_in() {
        let door = Door::new(Arc::new(ManualClock::new(0, 1)));
        let entry = |peer: &str| door.entry(&Access::default(), "ann", peer.parse().unwrap());
        assert!(matches!(entry("127.0.0.1"), Entry::Open) && matches!(entry("::1"), Entry::Open));
        assert!(matches!(entry("::ffff:127.0.0.1"), Entry::Open));
        assert!(matches!(entry("10.0.0.1"), Entry::Closed) && matches!(entry("::ffff:10.0.0.1"), Entry::Closed));
        // With users, everybody needs a password, and who is none does not learn it.
        let there = door.entry(&access("x"), "ann", "127.0.0.1".parse().unwrap());
        let nobody = door.entry(&access("x"), "bob", "127.0.0.1".parse().unwrap());
        assert!(matches!(there, Entry::Password(_)) && matches!(nobody, Entry::Password(_)));
    }

    #[test]
    fn a_changed_password_ends_what_the_old_one_opened() {
        let clock = Arc::new(ManualClock::new(0, 1));
        let door = Door::new(clock.clone());
        let (old, new) = (access("old"), access("new"));
        assert!(door.fits(&old, "ann", "old") && door.fits(&old, "ann", "old"));
        assert!(!door.fits(&old, "ann", "new") && !door.fits(&old, "bob", "old"));
        let token = door.token(&old, "ann");
        assert_eq!(door.bearer(&old, &token).as_deref(), Some("ann"));
        assert!(!door.fits(&new, "ann", "old") && door.bearer(&new, &token).is_none());
        assert!(door.bearer(&Access::default(), &token).is_none() && door.bearer(&old, "").is_none());
        clock.advance(TOKEN_LIFE);
        assert!(door.bearer(&old, &token).is_none());
    }
}
