//! Plays one file in one mode.

use std::path::Path;

use anyhow::Context;
use sqllogictest::Runner;

use crate::mode::Mode;
use crate::order::arrange;
use crate::warehouse::Warehouse;

/// Plays a file in a mode; the error says which record gave another answer.
pub async fn play(file: &Path, mode: Mode) -> anyhow::Result<()> {
    let records = sqllogictest::parse_file(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let mut runner = Runner::new(|| Warehouse::new(mode));
    runner.add_label(mode.name);
    if mode.killed || mode.views != crate::mode::Views::Plain {
        runner.add_label("incremental");
    }
    for record in arrange(records, mode.views) {
        if let Err(error) = runner.run_async(record).await {
            anyhow::bail!("{} (mode {}): {}", file.display(), mode.name, error.display(false));
        }
    }
    runner.shutdown_async().await;
    Ok(())
}
