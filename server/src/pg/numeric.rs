//! NUMERIC in PostgreSQL's binary format: groups of four decimal digits (`numeric_send` in `numeric.c`).
//!
//! `ndigits: i16, weight: i16, sign: u16 (0, 0x4000 negative, 0xC000 NaN), dscale: u16`, then `ndigits` groups, each 0..9999;
//! the value is the sum of `group[i] * 10000 ^ (weight - i)`.

use bytes::{BufMut, BytesMut};

const NEGATIVE: u16 = 0x4000;

/// Writes a number that is given as text: digits, perhaps a sign, perhaps a point.
pub fn write(text: &str, out: &mut BytesMut) {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = whole.trim_start_matches('0');
    let lead = (4 - whole.len() % 4) % 4;
    let padded: Vec<u8> = std::iter::repeat_n(b'0', lead)
        .chain(whole.bytes())
        .chain(fraction.bytes())
        .chain(std::iter::repeat_n(b'0', (4 - fraction.len() % 4) % 4))
        .collect();
    let groups: Vec<i16> =
        padded.chunks(4).map(|group| group.iter().fold(0, |sum, digit| sum * 10 + i16::from(digit - b'0'))).collect();
    let weight = (lead + whole.len()) as i16 / 4 - 1;
    let first = groups.iter().position(|group| *group != 0).unwrap_or(groups.len());
    let last = groups.iter().rposition(|group| *group != 0).map_or(first, |last| last + 1);
    let groups = &groups[first..last];
    let sign = if negative && !groups.is_empty() { NEGATIVE } else { 0 };
    out.put_i16(groups.len() as i16);
    out.put_i16(if groups.is_empty() { 0 } else { weight - first as i16 });
    out.put_u16(sign);
    out.put_u16(fraction.len() as u16);
    groups.iter().for_each(|group| out.put_i16(*group));
}

/// The text of a number in the binary format; `None` if it is none, or no finite one.
pub fn read(bytes: &[u8]) -> Option<String> {
    let word = |at: usize| Some(u16::from_be_bytes(bytes.get(2 * at..2 * at + 2)?.try_into().ok()?));
    let (count, weight, sign, scale) = (word(0)? as usize, word(1)? as i16, word(2)?, usize::from(word(3)?));
    if bytes.len() != 8 + 2 * count || !matches!(sign, 0 | NEGATIVE) || scale > 1_000 || !(-300..300).contains(&weight)
    {
        return None;
    }
    let groups = (0..count).map(|i| word(4 + i).filter(|group| *group < 10_000)).collect::<Option<Vec<_>>>()?;
    let group = |power: i16| usize::try_from(weight - power).ok().and_then(|i| groups.get(i)).copied().unwrap_or(0);
    let mut text = String::new();
    (0..=weight.max(0)).rev().for_each(|power| text.push_str(&format!("{:04}", group(power))));
    let whole = text.trim_start_matches('0').to_owned();
    let mut text = if whole.is_empty() { "0".to_owned() } else { whole };
    if scale > 0 {
        let groups = scale.div_ceil(4) as i16;
        let fraction: String = (1..=groups).map(|i| format!("{:04}", group(-i))).collect();
        text.push('.');
        text.push_str(&fraction[..scale]);
    }
    Some(if sign == NEGATIVE { format!("-{text}") } else { text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for text in [
            "0",
            "1",
            "-1",
            "10000",
            "12345678901234567890123456789012345678",
            "0.00",
            "0.0001",
            "-0.00012",
            "1.50",
            "99999999.9999",
            "10000.0001",
            "123.456789",
            "-100000000.5",
        ] {
            let mut bytes = BytesMut::new();
            write(text, &mut bytes);
            assert_eq!(read(&bytes).as_deref(), Some(text));
        }
    }

    #[test]
    fn the_bytes_are_those_of_postgresql() {
        // SELECT numeric_send(-12345.67)
        let mut bytes = BytesMut::new();
        write("-12345.67", &mut bytes);
        assert_eq!(bytes[..], [0, 3, 0, 1, 0x40, 0, 0, 2, 0, 1, 0x09, 0x29, 0x1a, 0x2c]);
        assert_eq!(read(&[0, 1]), None);
        assert_eq!(read(&[0, 0, 0, 0, 0xc0, 0, 0, 0]), None);
    }
}
