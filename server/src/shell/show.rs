//! Shows the rows of a statement while they come.

use arrow::array::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;

use super::sink::{Flow, Sink};
use super::spinner::Spinner;
use crate::cli::Format;
use crate::failure::Failure;
use crate::output;

/// How rows are shown.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// The format.
    pub format: Format,
    /// A line per value instead of a table.
    pub vertical: bool,
    /// Rows are shown when they come, however few: of a result without end.
    pub live: bool,
}

/// Writes all rows, or as many as are wanted: dropping the stream ends the query.
pub async fn rows(
    mut rows: SendableRecordBatchStream,
    style: Style,
    sink: &mut Sink,
    spinner: &mut Spinner<'_>,
) -> Result<(), Failure> {
    let mut writer = output::interactive(style.format, style.vertical);
    let mut text = Vec::new();
    writer.begin(&mut text, &rows.schema()).map_err(Failure::output)?;
    let mut waiting = false;
    loop {
        if spinner.write(sink, &text).await? == Flow::Enough {
            return Ok(());
        }
        text.clear();
        tokio::select! {
            batch = rows.next() => match batch {
                None => break,
                Some(batch) => {
                    let batch: RecordBatch = batch.map_err(engine::Error::from)?;
                    spinner.rows += batch.num_rows() as u64;
                    writer.batch(&mut text, &batch).map_err(Failure::output)?;
                    waiting = true;
                }
            },
            () = sink.left() => return Ok(()),
            () = spinner.tick() => {
                if style.live && waiting {
                    waiting = false;
                    writer.flush(&mut text).map_err(Failure::output)?;
                    // More than fits still goes to the pager.
                    spinner.write(sink, &text).await?;
                    text.clear();
                    sink.go_live(|| spinner.stop())?;
                } else {
                    spinner.draw();
                }
            }
        }
    }
    writer.end(&mut text).map_err(Failure::output)?;
    spinner.write(sink, &text).await?;
    Ok(())
}
