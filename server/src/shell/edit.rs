//! `\e`: a text in the user's own editor.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use catalog::Clock;
use tokio::process::Command;

use crate::failure::Failure;

/// What edits if nothing is said.
const DEFAULT: &str = "vi";

/// Lets the user change a text; `None` if they did not.
pub async fn edit(text: &str, clock: &dyn Clock) -> Result<Option<String>, Failure> {
    let path = std::env::temp_dir().join(format!("frazil-{}.sql", clock.uuid()));
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")
    });
    written.map_err(|source| Failure::io(format!("cannot write {}", path.display()), source))?;
    let edited = edit_file(&path).await;
    // A file that stays in the directory for such files is no reason to lose what was written.
    let _ = fs::remove_file(&path);
    let edited = edited?.trim().to_owned();
    Ok(Some(edited).filter(|edited| edited != text.trim()))
}

async fn edit_file(path: &Path) -> Result<String, Failure> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let program = variable("VISUAL").or_else(|| variable("EDITOR")).unwrap_or_else(|| DEFAULT.to_owned());
    // The variable may hold arguments, so a shell reads it; the path is one of its parameters and is not read.
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{program} \"$1\"")).arg("frazil").arg(path);
    let status =
        command.status().await.map_err(|source| Failure::io(format!("cannot start the editor {program}"), source))?;
    if !status.success() {
        let why = format!("the editor {program} failed ({status}), so nothing is executed");
        return Err(Failure::refused(format!("{why}\nhint: set EDITOR to another program")));
    }
    fs::read_to_string(path).map_err(|source| Failure::unreadable(path, source))
}
