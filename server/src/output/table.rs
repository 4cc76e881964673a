//! Aligned columns for people: a heading, a rule, the rows, their number. Numbers stand right, all else left. A value
//! of several lines, such as a plan, takes as many lines of the table.

use std::io::{self, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use unicode_width::UnicodeWidthStr;

use super::RowWriter;
use super::value::Values;

/// From so many rows the widths of a table are taken that is written while it comes.
const SAMPLE: usize = 1_000;

/// Collects a result and writes it when its widths are known.
#[derive(Debug, Default)]
pub struct TableWriter {
    columns: Vec<Column>,
    /// Rows that are held back.
    held: usize,
    rows: usize,
    /// Rows to hold back at most; without it, all.
    limit: Option<usize>,
    headed: bool,
}

impl TableWriter {
    /// Collects only the first rows. Should a later value be wider than all of those, its column is wider from there on.
    pub fn streaming() -> Self {
        Self { limit: Some(SAMPLE), ..Self::default() }
    }

    fn write_held(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if !self.headed {
            self.headed = true;
            write_line(out, self.columns.iter().map(|c| (c.name.as_str(), c.width, false)))?;
            let rules: Vec<String> = self.columns.iter().map(|c| "-".repeat(c.width + 2)).collect();
            writeln!(out, "{}", rules.join("+"))?;
        }
        for row in 0..self.held {
            let height = self.columns.iter().map(|c| c.cells[row].len()).max().unwrap_or(1);
            for i in 0..height {
                let line =
                    self.columns.iter().map(|c| (c.cells[row].get(i).map_or("", String::as_str), c.width, c.right));
                write_line(out, line)?;
            }
        }
        self.columns.iter_mut().for_each(|column| column.cells.clear());
        self.held = 0;
        Ok(())
    }
}

#[derive(Debug)]
struct Column {
    name: String,
    right: bool,
    /// In terminal cells.
    width: usize,
    /// The lines of each value.
    cells: Vec<Vec<String>>,
}

impl RowWriter for TableWriter {
    fn begin(&mut self, _out: &mut dyn Write, schema: &SchemaRef) -> io::Result<()> {
        let column = |field: &arrow::datatypes::FieldRef| {
            let name = visible(field.name());
            Column { width: name.width(), name, right: field.data_type().is_numeric(), cells: Vec::new() }
        };
        self.columns = schema.fields().iter().map(column).collect();
        Ok(())
    }

    fn batch(&mut self, out: &mut dyn Write, batch: &RecordBatch) -> io::Result<()> {
        let values = Values::new(batch)?;
        for (i, column) in self.columns.iter_mut().enumerate() {
            for row in 0..batch.num_rows() {
                let cell = values.get(i, row).map_or_else(|| "NULL".to_owned(), |value| value.to_string());
                let lines: Vec<String> = cell.split('\n').map(visible).collect();
                column.width = lines.iter().map(|line| line.width()).fold(column.width, usize::max);
                column.cells.push(lines);
            }
        }
        self.held += batch.num_rows();
        self.rows += batch.num_rows();
        match self.limit {
            Some(limit) if self.held >= limit || self.headed => self.write_held(out),
            _ => Ok(()),
        }
    }

    fn flush(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.held > 0 { self.write_held(out) } else { Ok(()) }
    }

    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.write_held(out)?;
        writeln!(out, "({} {})", self.rows, if self.rows == 1 { "row" } else { "rows" })
    }
}

fn write_line<'a>(out: &mut dyn Write, cells: impl Iterator<Item = (&'a str, usize, bool)>) -> io::Result<()> {
    let mut line = String::new();
    for (i, (cell, width, right)) in cells.enumerate() {
        let padding = " ".repeat(width.saturating_sub(cell.width()));
        line.push_str(if i == 0 { " " } else { " | " });
        let (left, right) = if right { (padding.as_str(), "") } else { ("", padding.as_str()) };
        line.extend([left, cell, right]);
    }
    writeln!(out, "{}", line.trim_end())
}

/// Control characters would break the table: they are shown as escapes.
pub(super) fn visible(text: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_default().collect() } else { String::from(c) };
    text.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{sample, written};
    use super::*;

    #[test]
    fn columns_are_aligned_by_their_widths_on_the_terminal() {
        let batch = sample().project(&[0, 1]).unwrap();
        assert_eq!(
            written(&mut TableWriter::default(), &[batch]),
            concat!(
                " name     | number\n",
                "----------+--------\n",
                " plain    |      1\n",
                "          |    -20\n",
                " NULL     |   NULL\n",
                " a \"b\", c |    300\n",
                " d        |\n",
                " 冰       |      4\n",
                "(5 rows)\n"
            )
        );
    }

    #[test]
    fn an_empty_result_still_shows_its_columns() {
        let empty = sample().project(&[1]).unwrap().slice(0, 0);
        assert_eq!(written(&mut TableWriter::default(), &[empty]), " number\n--------\n(0 rows)\n");
    }

    #[test]
    fn a_table_that_comes_slowly_is_written_as_it_comes() {
        let rows = sample().project(&[0, 1]).unwrap();
        let mut writer = TableWriter::streaming();
        let mut out = Vec::new();
        writer.begin(&mut out, &rows.schema()).unwrap();
        writer.batch(&mut out, &rows.slice(1, 2)).unwrap();
        assert!(out.is_empty());
        writer.flush(&mut out).unwrap();
        assert_eq!(String::from_utf8_lossy(&out), " name | number\n------+--------\n      |    -20\n NULL |   NULL\n");
        out.clear();
        writer.batch(&mut out, &rows.slice(0, 1)).unwrap();
        writer.end(&mut out).unwrap();
        assert_eq!(String::from_utf8_lossy(&out), " plain |      1\n(3 rows)\n");
    }
}
