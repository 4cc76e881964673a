//! The queries: the files in `benches/nexmark/`, compiled in, so that the binary can run anywhere. `sql-tests` keeps the same files as
//! views.

use anyhow::bail;

/// A query.
#[derive(Debug, Clone, Copy)]
pub struct Query {
    /// Such as `q4`.
    pub name: &'static str,
    /// The query alone, without a sink.
    pub sql: &'static str,
    /// Its result is as large as its input: writing it is another benchmark than computing it.
    pub stateless: bool,
}

macro_rules! query {
    ($name:literal, $stateless:literal) => {
        Query { name: $name, sql: include_str!(concat!("../../nexmark/", $name, ".sql")), stateless: $stateless }
    };
}

/// All queries.
const QUERIES: &[Query] = &[
    query!("q0", true),
    query!("q1", true),
    query!("q2", true),
    query!("q3", false),
    query!("q4", false),
    query!("q5", false),
    query!("q6", false),
    query!("q7", false),
    query!("q8", false),
    query!("q9", false),
    query!("q10", true),
    query!("q11", false),
    query!("q12", false),
    query!("q13", false),
    query!("q14", true),
    query!("q15", false),
    query!("q16", false),
    query!("q17", false),
    query!("q18", false),
    query!("q19", false),
    query!("q20", false),
    query!("q21", true),
    query!("q22", true),
    query!("q23", false),
];

/// The queries of these names, or all if there are none.
pub fn chosen(names: &[String]) -> anyhow::Result<Vec<Query>> {
    if names.is_empty() {
        return Ok(QUERIES.to_vec());
    }
    let find = |name: &String| match QUERIES.iter().find(|query| query.name == name.trim()) {
        Some(query) => Ok(*query),
        None => {
            let known: Vec<_> = QUERIES.iter().map(|query| query.name).collect();
            bail!("there is no query {name:?}; there are {}", known.join(", "))
        }
    };
    names.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_found_by_name() {
        let names = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
            chosen(&names).map(|found| found.iter().map(|q| q.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&["q7", "q0"]).unwrap(), ["q7", "q0"]);
        assert_eq!(names(&[]).unwrap().len(), QUERIES.len());
        assert!(names(&["q99"]).unwrap_err().to_string().contains("q0, q1"));
    }
}
