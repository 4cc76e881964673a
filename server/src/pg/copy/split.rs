//! Lines of COPY taken apart into values: text with backslashes, and CSV.
//!
//! Pure, and for a stream in pieces: each function looks for a whole row at the start of what has come so far.

/// A row: a value for each column, `None` for NULL, and how many bytes it took.
pub struct Row {
    /// The values.
    pub values: Vec<Option<Vec<u8>>>,
    /// Bytes up to and with the end of the line.
    pub taken: usize,
    /// Lines: values of CSV may hold several.
    pub lines: u64,
}

/// What stands at the start of a stream.
pub enum Found {
    /// A row.
    Row(Row),
    /// The mark `\.`: no more rows come.
    End,
    /// Not a whole row yet.
    Partial,
}

/// How values are written.
pub struct Syntax<'a> {
    /// Between two columns.
    pub delimiter: u8,
    /// What stands for NULL.
    pub null: &'a [u8],
    /// Around values; CSV only.
    pub quote: u8,
    /// Before a quote within quotes; CSV only.
    pub escape: u8,
}

/// The first line of the text format. `last`: no more bytes come, so the end of the bytes ends the line.
pub fn text_row(bytes: &[u8], syntax: &Syntax<'_>, last: bool) -> Found {
    let Some((line, taken)) = text_line(bytes, last) else { return Found::Partial };
    if line == b"\\." {
        return Found::End;
    }
    let mut values = Vec::new();
    let (mut start, mut at) = (0, 0);
    while at <= line.len() {
        if at == line.len() || line[at] == syntax.delimiter {
            let raw = &line[start..at];
            values.push((raw != syntax.null).then(|| unescaped(raw)));
            start = at + 1;
        } else if line[at] == b'\\' && at + 1 < line.len() {
            at += 1;
        }
        at += 1;
    }
    Found::Row(Row { values, taken, lines: 1 })
}

/// The first line without its end, and how many bytes it takes with it. A backslash before a newline keeps the line going.
fn text_line(bytes: &[u8], last: bool) -> Option<(&[u8], usize)> {
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b'\n' => return Some((bytes[..at].strip_suffix(b"\r").unwrap_or(&bytes[..at]), at + 1)),
            _ => {}
        }
        at += 1;
    }
    (last && !bytes.is_empty()).then(|| (bytes.strip_suffix(b"\r").unwrap_or(bytes), bytes.len()))
}

/// Resolves `\n`, `\t`, `\x41`, `\101` and a backslash before anything else.
fn unescaped(raw: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(raw.len());
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        at += 1;
        if byte != b'\\' {
            value.push(byte);
            continue;
        }
        let Some(&escaped) = raw.get(at) else {
            value.push(b'\\');
            break;
        };
        at += 1;
        let digits = |from: usize, most: usize, radix: u32| {
            raw[from..].iter().take(most).take_while(|byte| char::from(**byte).is_digit(radix)).count()
        };
        let number = |from: usize, count: usize, radix: u32| {
            raw[from..from + count].iter().fold(0, |n, byte| n * radix + char::from(*byte).to_digit(radix).unwrap_or(0))
                as u8
        };
        value.push(match escaped {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            b'x' if digits(at, 2, 16) > 0 => {
                let count = digits(at, 2, 16);
                at += count;
                number(at - count, count, 16)
            }
            b'0'..=b'7' => {
                let count = digits(at - 1, 3, 8);
                at += count - 1;
                number(at - count, count, 8)
            }
            other => other,
        });
    }
    value
}

/// The first row of CSV.
pub fn csv_row(bytes: &[u8], syntax: &Syntax<'_>, last: bool) -> Found {
    let mut values = Vec::new();
    let mut value = Vec::new();
    let (mut at, mut lines, mut was_quoted, mut in_quotes) = (0, 1, false, false);
    loop {
        let Some(&byte) = bytes.get(at) else {
            if !last || at == 0 || in_quotes {
                return Found::Partial;
            }
            break;
        };
        at += 1;
        if in_quotes {
            let next = bytes.get(at).copied();
            if byte == syntax.escape && next.is_some_and(|next| next == syntax.quote || next == syntax.escape) {
                value.extend(next);
                at += 1;
            } else if byte == syntax.escape && next.is_none() && !last {
                return Found::Partial;
            } else if byte == syntax.quote {
                in_quotes = false;
            } else {
                lines += u64::from(byte == b'\n');
                value.push(byte);
            }
        } else if byte == syntax.quote {
            (in_quotes, was_quoted) = (true, true);
        } else if byte == syntax.delimiter {
            values.push(finished(&mut value, &mut was_quoted, syntax.null));
        } else if byte == b'\n' {
            if value.last() == Some(&b'\r') {
                value.pop();
            }
            break;
        } else {
            value.push(byte);
        }
    }
    if values.is_empty() && !was_quoted && value == b"\\." {
        return Found::End;
    }
    values.push(finished(&mut value, &mut was_quoted, syntax.null));
    Found::Row(Row { values, taken: at, lines })
}

/// NULL is what is not quoted and reads like it.
fn finished(value: &mut Vec<u8>, was_quoted: &mut bool, null: &[u8]) -> Option<Vec<u8>> {
    let (value, was_quoted) = (std::mem::take(value), std::mem::take(was_quoted));
    (was_quoted || value != null).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: Syntax<'_> = Syntax { delimiter: b'\t', null: b"\\N", quote: b'"', escape: b'"' };
    const CSV: Syntax<'_> = Syntax { delimiter: b',', null: b"", quote: b'"', escape: b'"' };

    fn values(found: Found) -> Vec<Option<String>> {
        let Found::Row(row) = found else { panic!("no row") };
        row.values.into_iter().map(|value| value.map(|value| String::from_utf8(value).unwrap())).collect()
    }

    fn some(values: &[&str]) -> Vec<Option<String>> {
        values.iter().map(|value| (*value != "NULL").then(|| (*value).to_owned())).collect()
    }

    #[test]
    fn text() {
        for (line, expected) in [
            ("1\ta b\t\\N\n", &["1", "a b", "NULL"][..]),
            ("\t\n", &["", ""]),
            ("a\\tb\t\\\\N\r\n", &["a\tb", "\\N"]),
            ("\\x41\\101\\n\\q\n", &["AA\nq"]),
            ("a\\\nb\tc\n", &["a\nb", "c"]),
            ("a\\\tb\n", &["a\tb"]),
        ] {
            assert_eq!(values(text_row(line.as_bytes(), &TEXT, false)), some(expected), "{line:?}");
        }
        assert!(matches!(text_row(b"\\.\n", &TEXT, false), Found::End));
        assert!(matches!(text_row(b"1\t2", &TEXT, false), Found::Partial));
        assert_eq!(values(text_row(b"1\t2", &TEXT, true)), some(&["1", "2"]));
    }

    #[test]
    fn csv() {
        for (line, expected) in [
            ("1,\"a,b\",\n", &["1", "a,b", "NULL"][..]),
            ("\"\",\"say \"\"hi\"\"\"\r\n", &["", "say \"hi\""]),
            ("a\"b\"c,d\n", &["abc", "d"]),
            ("\"two\nlines\",x\n", &["two\nlines", "x"]),
        ] {
            assert_eq!(values(csv_row(line.as_bytes(), &CSV, false)), some(expected), "{line:?}");
        }
        assert!(matches!(csv_row(b"\\.\n", &CSV, false), Found::End));
        assert!(matches!(csv_row(b"\"open\n", &CSV, false), Found::Partial));
        assert!(matches!(csv_row(b"\"a\"", &CSV, false), Found::Partial));
        assert_eq!(values(csv_row(b"\"a\"", &CSV, true)), some(&["a"]));
    }
}
