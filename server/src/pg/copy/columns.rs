//! Values of COPY as columns.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryViewBuilder, ListArray, StringViewArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef};
use engine::source::{TextColumn, text_column};

/// A builder for a type, or `None` if COPY does not know how it is written.
pub fn column(data_type: &DataType) -> Option<Box<dyn TextColumn>> {
    match data_type {
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            Some(Box::new(Bytes { builder: BinaryViewBuilder::new(), data_type: data_type.clone() }))
        }
        DataType::Interval(_) => Some(Box::new(Cast { texts: Vec::new(), data_type: data_type.clone() })),
        DataType::List(item) => {
            let items = column(item.data_type())?;
            Some(Box::new(Lists { item: item.clone(), items, lengths: Vec::new(), valid: Vec::new() }))
        }
        _ => text_column(data_type),
    }
}

/// BYTEA: `\x` and digits, or bytes with octal escapes.
struct Bytes {
    builder: BinaryViewBuilder,
    data_type: DataType,
}

impl TextColumn for Bytes {
    fn append(&mut self, text: Option<&[u8]>) -> bool {
        let value = text.map(|text| match text.strip_prefix(b"\\x") {
            Some(digits) => hexadecimal(digits),
            None => escaped(text),
        });
        let good = value.as_ref().is_none_or(Option::is_some);
        self.builder.append_option(value.flatten());
        good
    }

    fn finish(&mut self) -> engine::Result<ArrayRef> {
        let array: ArrayRef = Arc::new(self.builder.finish());
        Ok(if array.data_type() == &self.data_type { array } else { cast(&array, &self.data_type)? })
    }

    fn takes_empty(&self) -> bool {
        true
    }
}

fn hexadecimal(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, rest) = digits.as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some((digit(*high)? * 16 + digit(*low)?) as u8));
    bytes.collect::<Option<Vec<_>>>().filter(|_| rest.is_empty())
}

fn escaped(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'\\', [b'\\', after @ ..]) => {
                bytes.push(b'\\');
                rest = after;
            }
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                bytes.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                rest = after;
            }
            (b'\\', _) => return None,
            (byte, _) => bytes.push(*byte),
        }
    }
    Some(bytes)
}

/// Types that Arrow casts from text.
struct Cast {
    texts: Vec<Option<String>>,
    data_type: DataType,
}

impl TextColumn for Cast {
    fn append(&mut self, text: Option<&[u8]>) -> bool {
        let value = text.map(|text| {
            let text = std::str::from_utf8(text).ok()?;
            let one: ArrayRef = Arc::new(StringViewArray::from(vec![text]));
            cast(&one, &self.data_type).is_ok_and(|cast| cast.is_valid(0)).then(|| text.to_owned())
        });
        let good = value.as_ref().is_none_or(Option::is_some);
        self.texts.push(value.flatten());
        good
    }

    fn finish(&mut self) -> engine::Result<ArrayRef> {
        let texts: ArrayRef = Arc::new(std::mem::take(&mut self.texts).into_iter().collect::<StringViewArray>());
        Ok(cast(&texts, &self.data_type)?)
    }
}

/// Arrays: `{1,NULL,"a b"}`.
struct Lists {
    item: FieldRef,
    items: Box<dyn TextColumn>,
    lengths: Vec<usize>,
    valid: Vec<bool>,
}

impl TextColumn for Lists {
    fn append(&mut self, text: Option<&[u8]>) -> bool {
        let elements = text.map(elements);
        let good = elements.as_ref().is_none_or(Option::is_some);
        let elements = elements.flatten();
        self.valid.push(elements.is_some());
        let elements = elements.unwrap_or_default();
        self.lengths.push(elements.len());
        // All are added, so that the lengths stay true.
        elements.iter().fold(good, |good, element| self.items.append(element.as_deref()) && good)
    }

    fn finish(&mut self) -> engine::Result<ArrayRef> {
        let offsets = OffsetBuffer::from_lengths(std::mem::take(&mut self.lengths));
        let valid = NullBuffer::from(std::mem::take(&mut self.valid));
        let items = self.items.finish()?;
        Ok(Arc::new(ListArray::try_new(self.item.clone(), offsets, items, Some(valid))?))
    }
}

/// The elements of an array; inner arrays stay text.
pub fn elements(text: &[u8]) -> Option<Vec<Option<Vec<u8>>>> {
    let inner = text.trim_ascii().strip_prefix(b"{")?.strip_suffix(b"}")?;
    let mut elements = Vec::new();
    if inner.trim_ascii().is_empty() {
        return Some(elements);
    }
    let mut element = Vec::new();
    let (mut depth, mut quoted, mut was_quoted) = (0_usize, false, false);
    let mut bytes = inner.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                // Within an inner array it is resolved when that is taken apart.
                if depth > 0 {
                    element.push(byte);
                }
                element.push(bytes.next()?);
            }
            b'"' => {
                quoted = !quoted;
                was_quoted = true;
                if depth > 0 {
                    element.push(byte);
                }
            }
            b',' if !quoted && depth == 0 => {
                elements.push(element_value(std::mem::take(&mut element), std::mem::take(&mut was_quoted))?);
            }
            _ => {
                if !quoted {
                    match byte {
                        b'{' => depth += 1,
                        b'}' => depth = depth.checked_sub(1)?,
                        _ => {}
                    }
                }
                element.push(byte);
            }
        }
    }
    if quoted || depth > 0 {
        return None;
    }
    elements.push(element_value(element, was_quoted)?);
    Some(elements)
}

/// NULL, if it is not quoted. Nothing at all is no element.
fn element_value(element: Vec<u8>, was_quoted: bool) -> Option<Option<Vec<u8>>> {
    if was_quoted {
        return Some(Some(element));
    }
    let trimmed = element.trim_ascii();
    if trimmed.is_empty() {
        return None;
    }
    Some((!trimmed.eq_ignore_ascii_case(b"null")).then(|| trimmed.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(given: &str) -> Option<Vec<Option<String>>> {
        let text = |element: Option<Vec<u8>>| element.map(|element| String::from_utf8(element).unwrap());
        elements(given.as_bytes()).map(|found| found.into_iter().map(text).collect())
    }

    #[test]
    fn arrays_are_taken_apart() {
        let some = |values: &[&str]| Some(values.iter().map(|v| (*v != "NULL").then(|| (*v).to_owned())).collect());
        assert_eq!(texts("{1, NULL,\"a b\"}"), some(&["1", "NULL", "a b"]));
        assert_eq!(texts("{}"), some(&[]));
        assert_eq!(texts("{\"null\",\"x\\\"y\"}"), Some(vec![Some("null".into()), Some("x\"y".into())]));
        assert_eq!(texts("{{1,2},{\"a,b\"}}"), some(&["{1,2}", "{\"a,b\"}"]));
        for wrong in ["", "1", "{1", "{1,}", "{\"a}", "{{1}"] {
            assert_eq!(texts(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn bytes_are_read_in_both_forms() {
        assert_eq!(hexadecimal(b"00fF"), Some(vec![0, 255]));
        assert_eq!(hexadecimal(b"0"), None);
        assert_eq!(escaped(b"a\\\\b\\001"), Some(b"a\\b\x01".to_vec()));
        assert_eq!(escaped(b"\\9"), None);
    }
}
