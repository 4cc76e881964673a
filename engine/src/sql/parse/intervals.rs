//! Intervals as the standard and PostgreSQL write them, as lists of numbers and units.

use datafusion::sql::sqlparser::ast::{Expr, Interval, Value};

use super::cursor::position;
use crate::error::{Error, Result};

/// An interval of several units, which the standard writes as one text, or one with a time of day, as PostgreSQL prints it.
pub(super) fn interval(interval: &Interval) -> Result<Option<Expr>> {
    if interval.leading_field.is_none() && interval.last_field.is_none() {
        return timed(&interval.value);
    }
    let (Some(first), Some(last)) = (&interval.leading_field, &interval.last_field) else { return Ok(None) };
    let (first, last) = (first.to_string().to_lowercase(), last.to_string().to_lowercase());
    let wrong = || {
        let span = datafusion::sql::sqlparser::ast::Spanned::span(interval.value.as_ref());
        Error::sql(format!("the interval from {first} to {last} cannot be read"))
            .hint(
                "write INTERVAL '1-6' YEAR TO MONTH, INTERVAL '1 02:30:00' DAY TO SECOND, or INTERVAL '1 day 2 hours'",
            )
            .at(position(span.start))
    };
    let Expr::Value(value) = interval.value.as_ref() else { return Err(wrong()) };
    let Value::SingleQuotedString(written) = &value.value else { return Err(wrong()) };
    const UNITS: [&str; 6] = ["year", "month", "day", "hour", "minute", "second"];
    let place = |unit: &str| UNITS.iter().position(|known| *known == unit);
    let (Some(from), Some(to)) = (place(&first), place(&last)) else { return Err(wrong()) };
    let (sign, digits) = match written.trim().strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", written.trim()),
    };
    let numbers: Vec<&str> = digits.split([' ', '-', ':']).filter(|part| !part.is_empty()).collect();
    let valid = numbers.iter().all(|n| n.chars().all(|c| c.is_ascii_digit() || c == '.'));
    if from >= to || numbers.len() != to - from + 1 || !valid {
        return Err(wrong());
    }
    let parts: Vec<String> =
        numbers.iter().zip(&UNITS[from..=to]).map(|(number, unit)| format!("{sign}{number} {unit}")).collect();
    Ok(Some(interval_of(&parts.join(" "))))
}

/// The interval that a text with a time of day is; nothing for other texts.
pub(super) fn timed(written: &Expr) -> Result<Option<Expr>> {
    let Expr::Value(value) = written else { return Ok(None) };
    let Value::SingleQuotedString(written) = &value.value else { return Ok(None) };
    if !written.contains(':') {
        return Ok(None);
    }
    let units = with_time(written).ok_or_else(|| {
        Error::sql(format!("the interval '{written}' cannot be read"))
            .hint("write INTERVAL '1 day 04:05:06' or INTERVAL '1 day 4 hours 5 minutes 6 seconds'")
            .at(position(value.span.start))
    })?;
    Ok(Some(interval_of(&units)))
}

fn interval_of(units: &str) -> Expr {
    Expr::Interval(Interval {
        value: Box::new(Expr::value(Value::SingleQuotedString(units.to_owned()))),
        leading_field: None,
        leading_precision: None,
        last_field: None,
        fractional_seconds_precision: None,
    })
}

/// `1 day -04:05:06` as `1 day -4 hours -5 minutes -6 seconds`. A number before the time that has no unit counts days; the
/// sign of a time is that of all its parts.
pub(in crate::sql) fn with_time(written: &str) -> Option<String> {
    let words: Vec<&str> = written.split_whitespace().collect();
    let mut parts = Vec::with_capacity(words.len());
    for (at, word) in words.iter().enumerate() {
        let next_is_time = words.get(at + 1).is_some_and(|next| next.contains(':'));
        if !word.contains(':') {
            let is_number = word.parse::<f64>().is_ok();
            parts.push(if is_number && next_is_time { format!("{word} days") } else { (*word).to_owned() });
            continue;
        }
        let (sign, time) = match word.strip_prefix(['-', '+']) {
            Some(time) => (if word.starts_with('-') { "-" } else { "" }, time),
            None => ("", *word),
        };
        let (hours, rest) = time.split_once(':')?;
        let (minutes, seconds) = rest.split_once(':').unwrap_or((rest, "0"));
        let whole = |digits: &str| !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit());
        let below_sixty = |number: &str| number.parse::<f64>().is_ok_and(|number| number < 60.0);
        let (second, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
        let valid = [hours, minutes, second, fraction].into_iter().all(whole);
        if !valid || !below_sixty(minutes) || !below_sixty(second) {
            return None;
        }
        parts.push(format!("{sign}{hours} hours {sign}{minutes} minutes {sign}{seconds} seconds"));
    }
    Some(parts.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_with_a_time_of_day() {
        let readable = [
            ("1 day 04:05:06", "1 day 04 hours 05 minutes 06 seconds"),
            ("-1 days -04:05:06.5", "-1 days -04 hours -05 minutes -06.5 seconds"),
            ("1 year 2 mons +26:00", "1 year 2 mons 26 hours 00 minutes 0 seconds"),
            ("1 04:05", "1 days 04 hours 05 minutes 0 seconds"),
        ];
        for (written, units) in readable {
            assert_eq!(with_time(written).as_deref(), Some(units));
        }
        for written in ["04:60", "04:05:60", "04:05:06:07", "4:", ":5", "a:b", "1 day 4:5:6x", "4:-5"] {
            assert_eq!(with_time(written), None, "{written}");
        }
    }
}
