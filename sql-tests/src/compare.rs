//! Compares results as bags of rows, as text; numbers that are not whole may differ by a rounding error.

use std::collections::HashMap;

/// Relative difference of numbers that count as equal.
const TOLERANCE: f64 = 1e-9;
/// Rows that a report shows of each side.
const SHOWN: usize = 5;

/// Says what is different; nothing if the bags are equal. `found` is what a view holds, `wanted` what its query gives.
pub fn difference(found: &[Vec<String>], wanted: &[Vec<String>]) -> Option<String> {
    let mut counts: HashMap<&[String], isize> = HashMap::new();
    for row in found {
        *counts.entry(row).or_default() += 1;
    }
    for row in wanted {
        *counts.entry(row).or_default() -= 1;
    }
    let left = |sign: isize| {
        let mut rows: Vec<&[String]> = Vec::new();
        for (row, count) in &counts {
            rows.extend(std::iter::repeat_n(*row, usize::try_from(count * sign).unwrap_or(0)));
        }
        rows.sort();
        rows
    };
    let (mut surplus, mut missing) = (left(1), left(-1));
    surplus.retain(|row| match missing.iter().position(|other| close(row, other)) {
        Some(place) => {
            missing.remove(place);
            false
        }
        None => true,
    });
    if surplus.is_empty() && missing.is_empty() {
        return None;
    }
    let list = |sign: char, rows: &[&[String]]| {
        rows.iter().take(SHOWN).map(|row| format!("\n  {sign} {}", row.join(" | "))).collect::<String>()
    };
    let (more, less) = (list('+', &surplus), list('-', &missing));
    Some(format!(
        "{} rows instead of {}; only there: {}, only in the query: {}{more}{less}",
        found.len(),
        wanted.len(),
        surplus.len(),
        missing.len()
    ))
}

fn close(one: &[String], other: &[String]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(a, b)| a == b || close_numbers(a, b))
}

fn close_numbers(one: &str, other: &str) -> bool {
    let fraction = |text: &str| text.contains(['.', 'e']);
    let (Ok(a), Ok(b)) = (one.parse::<f64>(), other.parse::<f64>()) else { return false };
    (fraction(one) || fraction(other)) && (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &[&str]) -> Vec<Vec<String>> {
        text.iter().map(|row| row.split(' ').map(str::to_owned).collect()).collect()
    }

    #[test]
    fn order_does_not_matter_and_multiplicity_does() {
        assert_eq!(difference(&rows(&["1 a", "2 b", "1 a"]), &rows(&["2 b", "1 a", "1 a"])), None);
        let text = difference(&rows(&["1 a", "2 b"]), &rows(&["2 b", "1 a", "1 a"])).unwrap();
        assert!(text.contains("only there: 0, only in the query: 1\n  - 1 | a"), "{text}");
    }

    #[test]
    fn only_fractions_have_a_tolerance() {
        assert_eq!(difference(&rows(&["1 0.3"]), &rows(&["1 0.30000000000000004"])), None);
        assert!(difference(&rows(&["1 0.3"]), &rows(&["1 0.3001"])).is_some());
        assert!(difference(&rows(&["10000000000"]), &rows(&["10000000001"])).is_some());
        assert!(difference(&rows(&["NULL"]), &rows(&["0.0"])).is_some());
    }
}
