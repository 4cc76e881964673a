//! A line per value, for rows that are wider than the terminal: a rule with its number, then name and value of each column.

use std::io::{self, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use unicode_width::UnicodeWidthStr;

use super::RowWriter;
use super::table::visible;
use super::value::Values;

/// Writes rows one below the other.
#[derive(Debug, Default)]
pub struct VerticalWriter {
    /// Names of the columns, padded to the same width.
    names: Vec<String>,
    width: usize,
    rows: usize,
}

impl RowWriter for VerticalWriter {
    fn begin(&mut self, _out: &mut dyn Write, schema: &SchemaRef) -> io::Result<()> {
        let names: Vec<String> = schema.fields().iter().map(|field| visible(field.name())).collect();
        self.width = names.iter().map(|name| name.width()).max().unwrap_or(0);
        let padded = |name: &String| format!("{name}{}", " ".repeat(self.width - name.width()));
        self.names = names.iter().map(padded).collect();
        Ok(())
    }

    fn batch(&mut self, out: &mut dyn Write, batch: &RecordBatch) -> io::Result<()> {
        let values = Values::new(batch)?;
        for row in 0..batch.num_rows() {
            self.rows += 1;
            writeln!(out, "-[ row {} ]{}", self.rows, "-".repeat(self.width))?;
            for (column, name) in self.names.iter().enumerate() {
                let value = values.get(column, row).map_or_else(|| "NULL".to_owned(), |value| value.to_string());
                let mut lines = value.split('\n').map(visible);
                write_line(out, name, &lines.next().unwrap_or_default())?;
                // Further lines of a value stand below its first one.
                lines.try_for_each(|line| write_line(out, &" ".repeat(self.width), &line))?;
            }
        }
        Ok(())
    }

    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "({} {})", self.rows, if self.rows == 1 { "row" } else { "rows" })
    }
}

fn write_line(out: &mut dyn Write, name: &str, value: &str) -> io::Result<()> {
    writeln!(out, "{}", format!("{name} | {value}").trim_end())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{sample, written};
    use super::*;

    #[test]
    fn every_value_has_a_line_of_its_own() {
        let batch = sample().project(&[0, 1]).unwrap();
        assert_eq!(
            written(&mut VerticalWriter::default(), &[batch.slice(1, 2), batch.slice(3, 1)]),
            concat!(
                "-[ row 1 ]------\n",
                "name   |\n",
                "number | -20\n",
                "-[ row 2 ]------\n",
                "name   | NULL\n",
                "number | NULL\n",
                "-[ row 3 ]------\n",
                "name   | a \"b\", c\n",
                "       | d\n",
                "number | 300\n",
                "(3 rows)\n"
            )
        );
    }
}
