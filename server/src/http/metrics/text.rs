//! The two forms in which metrics are exported: OpenMetrics, as the library writes it, and Prometheus' older text.

use std::borrow::Cow;

use super::names::{ALL, Kind};

/// Content type of OpenMetrics.
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Content type of the older text.
pub const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// OpenMetrics as the older text: there a counter is named as its values are, and there are neither units nor an end.
pub fn plain(open_metrics: &str) -> String {
    let counters: Vec<String> = ALL.iter().filter(|m| m.kind == Kind::Counter).map(|m| m.family()).collect();
    let mut text = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines() {
        if line.starts_with("# UNIT ") || line == "# EOF" {
            continue;
        }
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(what), Some(family), Some(rest)) if counters.iter().any(|counter| counter == family) => {
                text.extend(["# ", what, " ", family, "_total ", rest, "\n"]);
            }
            _ => text.extend([line, "\n"]),
        }
    }
    text
}

/// The value of a label as it may stand between quotes; the library writes it as it is.
pub fn label(value: &str) -> Cow<'_, str> {
    if !value.contains(['\\', '"', '\n']) {
        return Cow::Borrowed(value);
    }
    let escaped = value.chars().fold(String::new(), |mut escaped, c| {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '"' => escaped.push_str("\\\""),
            '\n' => escaped.push_str("\\n"),
            other => escaped.push(other),
        }
        escaped
    });
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_described_under_the_name_of_their_values() {
        let open = "# HELP process_cpu_seconds All of it.\n# TYPE process_cpu_seconds counter\n\
                    # UNIT process_cpu_seconds seconds\nprocess_cpu_seconds_total 1.5\n\
                    # HELP frazil_jobs Jobs.\n# TYPE frazil_jobs gauge\nfrazil_jobs{status=\"failed\"} 0\n# EOF\n";
        let text = "# HELP process_cpu_seconds_total All of it.\n# TYPE process_cpu_seconds_total counter\n\
                    process_cpu_seconds_total 1.5\n\
                    # HELP frazil_jobs Jobs.\n# TYPE frazil_jobs gauge\nfrazil_jobs{status=\"failed\"} 0\n";
        assert_eq!(plain(open), text);
    }

    #[test]
    fn labels_are_escaped() {
        assert_eq!(label("orders"), "orders");
        assert_eq!(label("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
