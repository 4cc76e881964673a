//! Decodes objects right into typed columns, for tables without nested columns: one pass over the bytes, values that
//! are not wanted are stepped over, and a malformed line is found where it stands.

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::filter;
use arrow::datatypes::SchemaRef;
use hashbrown::HashMap;

use crate::error::Result;
use crate::source::value::{TextColumn, text_column};

/// Why a line is malformed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is not one JSON object.
    Syntax,
    /// A key stands twice in it.
    Repeated(usize),
    /// The value of a column is not of its type; the value as it stands in the file.
    Type(usize, String),
    /// A column that is NOT NULL has none.
    Null(usize),
}

/// Key of the n-th member of the previous object, and the column that it names: the next object is mostly alike.
struct Member {
    key: Vec<u8>,
    column: Option<usize>,
}

/// Builds columns from lines.
pub(super) struct FlatDecoder {
    schema: SchemaRef,
    columns: Vec<Box<dyn TextColumn>>,
    /// Rows in each column.
    lengths: Vec<usize>,
    by_name: HashMap<Vec<u8>, usize>,
    members: Vec<Member>,
    /// For each row whether it is well-formed.
    keep: Vec<bool>,
    unescaped: Vec<u8>,
}

impl FlatDecoder {
    /// `None`: a column is of a nested or binary type.
    pub(super) fn new(schema: &SchemaRef) -> Option<Self> {
        let columns = schema.fields().iter().map(|f| text_column(f.data_type())).collect::<Option<Vec<_>>>()?;
        let by_name = schema.fields().iter().enumerate().map(|(i, f)| (f.name().as_bytes().to_vec(), i)).collect();
        Some(Self {
            schema: schema.clone(),
            lengths: vec![0; columns.len()],
            columns,
            by_name,
            members: Vec::new(),
            keep: Vec::new(),
            unescaped: Vec::new(),
        })
    }

    /// Adds the row of a line. After a fault the row counts as malformed and is left out of the batch.
    pub(super) fn append(&mut self, line: &[u8]) -> Result<(), Fault> {
        let row = self.keep.len();
        let mut outcome = self.object(line, row);
        for column in 0..self.columns.len() {
            if self.lengths[column] == row {
                self.columns[column].append(None);
                self.lengths[column] += 1;
                if outcome.is_ok() && !self.schema.field(column).is_nullable() {
                    outcome = Err(Fault::Null(column));
                }
            }
        }
        self.keep.push(outcome.is_ok());
        outcome
    }

    /// The well-formed rows since the last batch.
    pub(super) fn batch(&mut self) -> Result<RecordBatch> {
        let keep = std::mem::take(&mut self.keep);
        self.lengths.fill(0);
        let mut columns = self.columns.iter_mut().map(|c| c.finish()).collect::<Result<Vec<ArrayRef>>>()?;
        let rows = keep.iter().filter(|keep| **keep).count();
        if rows < keep.len() {
            let keep = BooleanArray::from(keep);
            columns = columns.iter().map(|c| filter(c, &keep)).collect::<Result<_, _>>()?;
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }

    fn object(&mut self, line: &[u8], row: usize) -> Result<(), Fault> {
        let mut cursor = Cursor { rest: line };
        cursor.expect(b'{')?;
        if cursor.skip_if(b'}') {
            return cursor.end();
        }
        for ordinal in 0.. {
            let key = cursor.string()?;
            cursor.expect(b':')?;
            match self.column(ordinal, &key)? {
                None => cursor.skip_value()?,
                Some(column) if self.lengths[column] > row => return Err(Fault::Repeated(column)),
                Some(column) => self.value(column, cursor.value()?)?,
            }
            if !cursor.skip_if(b',') {
                break;
            }
        }
        cursor.expect(b'}')?;
        cursor.end()
    }

    /// The column that the n-th key of an object names.
    fn column(&mut self, ordinal: usize, key: &Text<'_>) -> Result<Option<usize>, Fault> {
        let key = if key.escaped {
            unescape(key.raw, &mut self.unescaped).ok_or(Fault::Syntax)?;
            self.unescaped.as_slice()
        } else {
            key.raw
        };
        match self.members.get_mut(ordinal) {
            Some(member) if member.key == key => Ok(member.column),
            Some(member) => {
                member.column = self.by_name.get(key).copied();
                member.key.clear();
                member.key.extend_from_slice(key);
                Ok(member.column)
            }
            None => {
                let column = self.by_name.get(key).copied();
                // What stands still further behind is looked up each time.
                if ordinal < 1024 {
                    self.members.push(Member { key: key.to_vec(), column });
                }
                Ok(column)
            }
        }
    }

    fn value(&mut self, column: usize, value: Value<'_>) -> Result<(), Fault> {
        let builder = &mut self.columns[column];
        let fits = match value {
            Value::Null => return Ok(()),
            Value::Text(text) if text.escaped => {
                unescape(text.raw, &mut self.unescaped).ok_or(Fault::Syntax)?;
                builder.append(Some(&self.unescaped))
            }
            Value::Text(Text { raw, .. }) | Value::Word(raw) => builder.append(Some(raw)),
            Value::Number(raw) => match whole(raw).filter(|_| self.schema.field(column).data_type().is_integer()) {
                Some(whole) => builder.append(Some(whole.as_bytes())),
                None => builder.append(Some(raw)),
            },
            Value::Nested(_) => false,
        };
        // A value that did not fit was added as NULL; only for nested ones nothing was.
        self.lengths[column] += usize::from(fits || !matches!(value, Value::Nested(_)));
        if fits { Ok(()) } else { Err(Fault::Type(column, value.display())) }
    }
}

/// `12.0` or `1e3` as digits, if it is written with a point or exponent and yet a whole number.
fn whole(number: &[u8]) -> Option<String> {
    if !number.iter().any(|b| matches!(b, b'.' | b'e' | b'E')) {
        return None;
    }
    let value: f64 = std::str::from_utf8(number).ok()?.parse().ok()?;
    // Above 2^53 a double may stand for another whole number than the text does.
    (value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0).then(|| (value as i64).to_string())
}

/// The inside of a string.
#[derive(Debug, Clone, Copy)]
struct Text<'a> {
    raw: &'a [u8],
    escaped: bool,
}

#[derive(Debug, Clone, Copy)]
enum Value<'a> {
    Null,
    Text(Text<'a>),
    Number(&'a [u8]),
    /// `true` or `false`.
    Word(&'a [u8]),
    Nested(&'a [u8]),
}

impl Value<'_> {
    fn display(&self) -> String {
        let raw = match self {
            Self::Null => b"null".as_slice(),
            Self::Text(text) => text.raw,
            Self::Number(raw) | Self::Word(raw) | Self::Nested(raw) => raw,
        };
        String::from_utf8_lossy(raw).into_owned()
    }
}

/// What is left of a line.
struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    #[inline]
    fn skip_space(&mut self) {
        while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    #[inline]
    fn skip_if(&mut self, byte: u8) -> bool {
        self.skip_space();
        match self.rest {
            [first, rest @ ..] if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        if self.skip_if(byte) { Ok(()) } else { Err(Fault::Syntax) }
    }

    fn end(&mut self) -> Result<(), Fault> {
        self.skip_space();
        if self.rest.is_empty() { Ok(()) } else { Err(Fault::Syntax) }
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }

    #[inline]
    fn string(&mut self) -> Result<Text<'a>, Fault> {
        self.expect(b'"')?;
        let mut length = 0;
        let mut escaped = false;
        loop {
            length += quote_or_backslash(&self.rest[length..]).ok_or(Fault::Syntax)?;
            if self.rest[length] == b'"' {
                let raw = self.take(length);
                self.rest = &self.rest[1..];
                return Ok(Text { raw, escaped });
            }
            escaped = true;
            length += 2;
            if length > self.rest.len() {
                return Err(Fault::Syntax);
            }
        }
    }

    #[inline]
    fn value(&mut self) -> Result<Value<'a>, Fault> {
        self.skip_space();
        match self.rest.first() {
            Some(b'"') => self.string().map(Value::Text),
            Some(b'-' | b'0'..=b'9') => {
                let number = |b: &u8| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E');
                let length = self.rest.iter().position(|b| !number(b)).unwrap_or(self.rest.len());
                Ok(Value::Number(self.take(length)))
            }
            Some(b'{' | b'[') => self.nested().map(Value::Nested),
            _ if self.rest.starts_with(b"null") => {
                self.take(4);
                Ok(Value::Null)
            }
            _ if self.rest.starts_with(b"true") => Ok(Value::Word(self.take(4))),
            _ if self.rest.starts_with(b"false") => Ok(Value::Word(self.take(5))),
            _ => Err(Fault::Syntax),
        }
    }

    fn skip_value(&mut self) -> Result<(), Fault> {
        self.value().map(|_| ())
    }

    /// An array or object, up to its closing bracket.
    fn nested(&mut self) -> Result<&'a [u8], Fault> {
        let begin = self.rest;
        let mut depth = 0;
        loop {
            match self.rest.first().ok_or(Fault::Syntax)? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.rest = &self.rest[1..];
            if depth == 0 {
                return Ok(&begin[..begin.len() - self.rest.len()]);
            }
        }
    }
}

/// Place of the first `"` or `\`, looking at eight bytes at a time.
#[inline]
fn quote_or_backslash(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    // The high bit of each byte that is zero; bytes above the first such may be marked wrongly.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let (words, tail) = bytes.as_chunks::<8>();
    for (i, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = zeros(word ^ (ONES * u64::from(b'"'))) | zeros(word ^ (ONES * u64::from(b'\\')));
        if found != 0 {
            return Some(i * 8 + (found.trailing_zeros() / 8) as usize);
        }
    }
    tail.iter().position(|b| matches!(b, b'"' | b'\\')).map(|i| words.len() * 8 + i)
}

/// Replaces escape sequences. `None`: one of them is none of JSON's.
fn unescape(raw: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.clear();
    let mut rest = raw;
    while let Some(at) = rest.iter().position(|b| *b == b'\\') {
        out.extend_from_slice(&rest[..at]);
        let (escape, after) = rest[at + 1..].split_first()?;
        rest = after;
        let byte = match escape {
            b'"' | b'\\' | b'/' => *escape,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let (character, after) = unicode(rest)?;
                rest = after;
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            _ => return None,
        };
        out.push(byte);
    }
    out.extend_from_slice(rest);
    Some(())
}

/// The character of the four hexadecimal digits after `\u`, or of a surrogate pair, and what follows.
fn unicode(text: &[u8]) -> Option<(char, &[u8])> {
    let unit = |text: &[u8]| {
        let digits = text.get(..4)?;
        digits.iter().try_fold(0, |value, b| Some(value * 16 + (*b as char).to_digit(16)?))
    };
    let high = unit(text)?;
    let rest = &text[4..];
    if !(0xd800..0xdc00).contains(&high) {
        return Some((char::from_u32(high)?, rest));
    }
    let low = unit(rest.strip_prefix(b"\\u")?).filter(|low| (0xdc00..0xe000).contains(low))?;
    Some((char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00))?, &rest[6..]))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema};
    use proptest::prelude::*;
    use serde_json::{Map, Value as Json, json};

    use super::*;

    fn decoder() -> FlatDecoder {
        let field = |name, data_type| Field::new(name, data_type, true);
        FlatDecoder::new(&Arc::new(Schema::new(vec![
            field("i", DataType::Int64),
            field("t", DataType::Utf8View),
            field("f", DataType::Float64),
            field("b", DataType::Boolean),
        ])))
        .unwrap()
    }

    fn any_json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Json::from),
            any::<String>().prop_map(Json::from),
        ];
        leaf.prop_recursive(3, 12, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
                prop::collection::vec((any::<String>(), inner), 0..4)
                    .prop_map(|m| Json::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_object_decodes_as_the_reference_parser_has_it(
            rows in prop::collection::vec((
                prop::option::of(any::<i64>()),
                prop::option::of(any::<String>()),
                prop::option::of(-1e300_f64..1e300),
                prop::option::of(any::<bool>()),
                prop::collection::vec((any::<String>(), any_json()), 0..3),
                any::<bool>(),
            ), 1..8)
        ) {
            let mut decoder = decoder();
            for (i, t, f, b, more, pretty) in &rows {
                let mut object: Map<String, Json> = more.iter().filter(|(k, _)| k.len() > 1).cloned().collect();
                object.extend([("i".to_string(), json!(i)), ("t".into(), json!(t)), ("f".into(), json!(f)), ("b".into(), json!(b))]);
                let text = if *pretty { serde_json::to_string_pretty(&object) } else { serde_json::to_string(&object) };
                prop_assert_eq!(decoder.append(text.unwrap().as_bytes()), Ok(()));
            }
            let batch = decoder.batch().unwrap();
            let column = |c: usize| batch.column(c);
            prop_assert!(column(0).as_primitive::<Int64Type>().iter().eq(rows.iter().map(|r| r.0)));
            prop_assert!(column(1).as_string_view().iter().eq(rows.iter().map(|r| r.1.as_deref())));
            prop_assert!(column(2).as_primitive::<Float64Type>().iter().eq(rows.iter().map(|r| r.2)));
            prop_assert!(column(3).as_boolean().iter().eq(rows.iter().map(|r| r.3)));
        }

        #[test]
        fn damaged_lines_never_pass_for_others(
            text in "[a-z\\\\\"{}:,\\[\\]0-9 ]{0,12}",
            cut in 0_usize..200,
        ) {
            let whole = format!("{{\"i\":1,\"t\":{},\"x\":[{{}},2]}}", Json::from(text));
            let mut decoder = decoder();
            prop_assert_eq!(decoder.append(whole.as_bytes()), Ok(()));
            if let Some(damaged) = whole.get(..cut.min(whole.len() - 1)) {
                prop_assert!(decoder.append(damaged.as_bytes()).is_err());
                prop_assert_eq!(decoder.append(b"{}"), Ok(()));
                prop_assert_eq!(decoder.batch().unwrap().num_rows(), 2);
            }
        }

        #[test]
        fn eight_bytes_at_a_time_find_what_one_by_one_does(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let expected = bytes.iter().position(|b| matches!(b, b'"' | b'\\'));
            prop_assert_eq!(quote_or_backslash(&bytes), expected);
        }
    }

    #[test]
    fn faults() {
        let mut decoder = decoder();
        let mut fault = |line: &str| decoder.append(line.as_bytes()).err();
        for line in [
            "",
            "{",
            "{\"i\"}",
            "{\"i\":}",
            "{\"i\":1,}",
            "{\"i\":1}}",
            "{\"i\":1 2}",
            "[1]",
            "{i:1}",
            "{\"i\":nul}",
            "{\"i\":tru}",
            "{\"t\":\"\\x\"}",
            "{\"t\":\"\\ud800\"}",
            "{\"t\":\"\\",
            "{\"z\":[1}",
            "{\"z\":[\"]}",
            "{\"z\":{\"a\":1}",
        ] {
            assert_eq!(fault(line), Some(Fault::Syntax), "{line}");
        }
        assert_eq!(fault("{\"i\":1.5}"), Some(Fault::Type(0, "1.5".into())));
        assert_eq!(fault("{\"i\":9223372036854775808}"), Some(Fault::Type(0, "9223372036854775808".into())));
        assert_eq!(fault("{\"i\":[1,2]}"), Some(Fault::Type(0, "[1,2]".into())));
        assert_eq!(fault("{\"i\":\"\"}"), Some(Fault::Type(0, String::new())));
        assert_eq!(fault("{\"i\":1,\"i\":2}"), Some(Fault::Repeated(0)));
        assert_eq!(fault("{\"i\":1.0,\"t\":1.50,\"f\":7,\"b\":\"true\"}"), None);
        assert_eq!(fault("{ \"\\u0069\" : 1e3 , \"t\" : \"\\ud83e\\uddca\\/\\t\" } \r\n"), None);
        let batch = decoder.batch().unwrap();
        assert_eq!(batch.column(0).as_primitive::<Int64Type>().values(), &[1, 1000]);
        assert_eq!(batch.column(1).as_string_view().iter().flatten().collect::<Vec<_>>(), ["1.50", "\u{1f9ca}/\t"]);
        assert_eq!(batch.column(3).null_count(), 1);
    }
}
