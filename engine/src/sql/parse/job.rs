//! PAUSE, RESUME, RESTART and STOP of a job.

use super::Parsed;
use super::cursor::{Cursor, quoted};
use crate::error::Result;
use crate::sql::statement::{JobControl, Statement};

/// `PAUSE | RESUME | RESTART | STOP JOB name`.
pub(super) fn control(cursor: &mut Cursor, control: JobControl) -> Result<Parsed> {
    let verb = control.verb();
    let example = format!("{verb} JOB name");
    cursor.expect(&verb.to_lowercase(), &example)?;
    // A view's job has the view's name.
    if !cursor.accept("job") && !cursor.accept("materialized view") {
        return Err(cursor.unexpected("JOB", &example));
    }
    let name = cursor.name("the job's name")?;
    let text = format!("{verb} JOB {}", quoted(&name));
    Ok((Statement::Job(control, name), text))
}
