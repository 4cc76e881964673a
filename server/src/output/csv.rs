//! CSV after RFC 4180, except for the line end, which is `\n`: a header line, NULL as empty, an empty string as `""`.

use std::io::{self, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::RowWriter;
use super::value::Values;

/// Writes CSV.
#[derive(Debug)]
pub struct CsvWriter;

impl RowWriter for CsvWriter {
    fn begin(&mut self, out: &mut dyn Write, schema: &SchemaRef) -> io::Result<()> {
        for (i, field) in schema.fields().iter().enumerate() {
            separate(out, i)?;
            write_text(out, field.name())?;
        }
        writeln!(out)
    }

    fn batch(&mut self, out: &mut dyn Write, batch: &RecordBatch) -> io::Result<()> {
        let values = Values::new(batch)?;
        let mut text = String::new();
        for row in 0..batch.num_rows() {
            for column in 0..values.width() {
                separate(out, column)?;
                if let Some(value) = values.get(column, row) {
                    text.clear();
                    std::fmt::Write::write_fmt(&mut text, format_args!("{value}")).map_err(io::Error::other)?;
                    write_text(out, &text)?;
                }
            }
            writeln!(out)?;
        }
        Ok(())
    }

    fn end(&mut self, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

fn separate(out: &mut dyn Write, column: usize) -> io::Result<()> {
    if column > 0 { out.write_all(b",") } else { Ok(()) }
}

/// Quotes what has to be quoted, and the empty string, which would read as NULL.
fn write_text(out: &mut dyn Write, text: &str) -> io::Result<()> {
    if text.is_empty() || text.contains(['"', ',', '\n', '\r']) {
        write!(out, "\"{}\"", text.replace('"', "\"\""))
    } else {
        out.write_all(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{sample, written};
    use super::*;

    #[test]
    fn nulls_empty_strings_and_quotes_can_be_told_apart() {
        assert_eq!(
            written(&mut CsvWriter, &[sample()]),
            "name,number,real,flag,time\n\
             plain,1,1.0,true,1970-01-01 00:00:00\n\
             \"\",-20,0.5,,1970-01-01 00:00:01.500\n\
             ,,,false,\n\
             \"a \"\"b\"\", c\nd\",300,NaN,,\n\
             冰,4,-2e-7,,1970-01-02 00:00:00\n"
        );
    }
}
