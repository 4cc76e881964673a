//! Valid statements at random: each is parsed, its canonical text is a fixed point, and neither the case of words nor white space nor
//! comments change it.

use proptest::prelude::*;
use proptest::sample::select;

use super::parse;

/// Tokens with one blank between.
type Sql = BoxedStrategy<String>;

fn pick(choices: &'static [&'static str]) -> Sql {
    select(choices).prop_map(str::to_owned).boxed()
}

fn list(item: Sql) -> Sql {
    proptest::collection::vec(item, 1..4).prop_map(|items| items.join(" , ")).boxed()
}

fn optional(part: impl Strategy<Value = String> + 'static) -> Sql {
    prop_oneof![Just(String::new()), part].boxed()
}

fn name() -> Sql {
    pick(&["a", "b", "price", "ts", "date", "\"Quoted\"", "\"two words\"", "`tick`", "value", "name"])
}

fn literal() -> Sql {
    pick(&[
        "1",
        "2.5",
        "1e3",
        "'text'",
        "'it''s'",
        "E'a\\nb'",
        "NULL",
        "TRUE",
        "DATE '2020-01-01'",
        "TIMESTAMP '2020-01-01 00:00:00'",
        "INTERVAL '10' MINUTE",
        "INTERVAL '1 day'",
        "$1",
        "CURRENT_TIMESTAMP",
    ])
}

fn expression() -> Sql {
    let leaf = prop_oneof![name(), literal(), (name(), name()).prop_map(|(t, c)| format!("{t} . {c}"))];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let inner = inner.boxed();
        let pair = (inner.clone(), inner.clone());
        let operators = pick(&[
            "+",
            "-",
            "*",
            "/",
            "%",
            "||",
            "=",
            "<>",
            "<",
            ">=",
            "AND",
            "OR",
            "LIKE",
            "NOT LIKE",
            "IS DISTINCT FROM",
            "&",
            "~",
        ]);
        prop_oneof![
            (inner.clone(), operators, inner.clone()).prop_map(|(l, op, r)| format!("{l} {op} {r}")),
            (pick(&["-", "+", "NOT", "- -"]), inner.clone()).prop_map(|(op, e)| format!("{op} ( {e} )")),
            (pick(&["- -", "+ -", "-"]), name()).prop_map(|(op, e)| format!("{op} {e}")),
            inner.clone().prop_map(|e| format!("( {e} )")),
            (inner.clone(), pick(&["IS NULL", "IS NOT NULL", "IS TRUE"])).prop_map(|(e, op)| format!("( {e} ) {op}")),
            (inner.clone(), list(inner.clone())).prop_map(|(e, l)| format!("( {e} ) NOT IN ( {l} )")),
            pair.clone().prop_map(|(l, r)| format!("{l} BETWEEN 1 AND ( {r} )")),
            pair.clone().prop_map(|(c, e)| format!("CASE WHEN {c} THEN {e} ELSE 0 END")),
            (inner.clone(), pick(&["BIGINT", "VARCHAR", "TIMESTAMP ( 3 )", "DECIMAL ( 10 , 2 )", "DOUBLE PRECISION"]))
                .prop_map(|(e, t)| format!("CAST ( {e} AS {t} )")),
            (name(), pick(&["INT", "TEXT"])).prop_map(|(e, t)| format!("{e} :: {t}")),
            (pick(&["count", "sum", "coalesce", "date_format"]), list(inner.clone()))
                .prop_map(|(f, l)| format!("{f} ( {l} )")),
            inner.clone().prop_map(|e| format!("count ( DISTINCT {e} ) FILTER ( WHERE {e} )")),
            pair.prop_map(|(p, o)| format!("row_number ( ) OVER ( PARTITION BY {p} ORDER BY {o} DESC )")),
            inner.clone().prop_map(|e| format!("sum ( {e} ) OVER ( ROWS BETWEEN 2 PRECEDING AND CURRENT ROW )")),
            name().prop_map(|c| format!("EXTRACT ( HOUR FROM {c} )")),
            inner.prop_map(|e| format!("EXISTS ( SELECT 1 FROM t WHERE {e} )")),
        ]
        .boxed()
    })
    .boxed()
}

fn relation() -> Sql {
    prop_oneof![
        name(),
        (name(), name()).prop_map(|(t, a)| format!("{t} AS {a}")),
        Just("TABLE ( TUMBLE ( TABLE t , DESCRIPTOR ( ts ) , INTERVAL '10' MINUTE ) ) AS w".to_owned()),
        Just("HOP ( t , ts , INTERVAL '1' MINUTE , INTERVAL '1' HOUR )".to_owned()),
        Just("TUMBLE ( DATA => TABLE t , TIMECOL => DESCRIPTOR ( ts ) , SIZE => INTERVAL '1' DAY ) w".to_owned()),
        expression().prop_map(|e| format!("( SELECT {e} AS x FROM t ) AS s")),
    ]
    .boxed()
}

fn joined() -> Sql {
    let kind = pick(&["JOIN", "LEFT JOIN", "FULL OUTER JOIN", "CROSS JOIN"]);
    let join = (kind, relation(), expression()).prop_map(|(kind, relation, on)| match kind.as_str() {
        "CROSS JOIN" => format!("{kind} {relation}"),
        _ => format!("{kind} {relation} ON {on}"),
    });
    (relation(), optional(join)).prop_map(|(relation, join)| format!("{relation} {join}")).boxed()
}

fn query() -> Sql {
    let item =
        (expression(), optional(name().prop_map(|n| format!("AS {n}")))).prop_map(|(e, alias)| format!("{e} {alias}"));
    let items = prop_oneof![Just("*".to_owned()), list(item.boxed())];
    let select = (
        optional(Just("DISTINCT".to_owned())),
        items,
        joined(),
        optional(expression().prop_map(|e| format!("WHERE {e}"))),
        optional((list(expression()), expression()).prop_map(|(g, h)| format!("GROUP BY {g} HAVING {h}"))),
    )
        .prop_map(|(distinct, items, from, filter, group)| {
            format!("SELECT {distinct} {items} FROM {from} {filter} {group}")
        });
    let values =
        list(list(literal()).prop_map(|row| format!("( {row} )")).boxed()).prop_map(|rows| format!("VALUES {rows}"));
    let body = prop_oneof![4 => select, 1 => values].boxed();
    let set = (body.clone(), pick(&["UNION ALL", "UNION", "EXCEPT", "INTERSECT ALL"]), body.clone())
        .prop_map(|(l, op, r)| format!("{l} {op} {r}"));
    let with = (name(), body.clone()).prop_map(|(n, q)| format!("WITH {n} AS ( {q} )"));
    let order =
        (list(expression()), pick(&["", "DESC", "NULLS FIRST"]), optional(Just("LIMIT 10 OFFSET 2".to_owned())))
            .prop_map(|(by, direction, limit)| format!("ORDER BY {by} {direction} {limit}"));
    (optional(with), prop_oneof![2 => body, 1 => set], optional(order))
        .prop_map(|(with, body, order)| format!("{with} {body} {order}"))
        .boxed()
}

fn create_table() -> Sql {
    let types = pick(&[
        "BIGINT",
        "VARCHAR ( 10 )",
        "DECIMAL ( 9 , 3 )",
        "TIMESTAMP ( 3 )",
        "INT [ ]",
        "TIMESTAMP WITH LOCAL TIME ZONE",
    ]);
    let column = |n: usize| {
        (types.clone(), pick(&["", "NOT NULL", "NULL"])).prop_map(move |(t, null)| format!("c{n} {t} {null}"))
    };
    let key = optional(pick(&[", PRIMARY KEY ( ts , c1 ) NOT ENFORCED", ", CONSTRAINT k PRIMARY KEY ( ts )"]));
    let watermark = optional(expression().prop_map(|e| format!(", WATERMARK FOR ts AS {e}")));
    let option = pick(&["connector = 'kafka'", "'a.b' = 'it''s'", "\"c.d\" = '1'", "e . f = 4", "g = true"]);
    let options = optional(option.prop_map(|o| format!("WITH ( {o} )")));
    (column(1), column(2), key, watermark, options)
        .prop_map(|(a, b, key, watermark, options)| {
            format!("CREATE TABLE t ( ts TIMESTAMP ( 3 ) , {a} , {b} {key} {watermark} ) {options}")
        })
        .boxed()
}

fn statement() -> Sql {
    let insert = (name(), optional(Just("( a , b )".to_owned())), query())
        .prop_map(|(t, columns, q)| format!("INSERT INTO {t} {columns} {q}"))
        .boxed();
    let view = (pick(&["", "OR REPLACE"]), pick(&["", "MATERIALIZED"]), name(), query())
        .prop_map(|(replace, kind, n, q)| format!("CREATE {replace} {kind} VIEW {n} AS {q}"))
        .boxed();
    let explained = prop_oneof![query(), view.clone(), insert.clone()];
    prop_oneof![
        4 => query(),
        2 => create_table(),
        1 => view,
        1 => insert.clone(),
        1 => (insert.clone(), insert).prop_map(|(a, b)| format!("EXECUTE STATEMENT SET BEGIN {a} ; {b} ; END")),
        1 => explained.prop_map(|q| format!("EXPLAIN INCREMENTAL {q}")),
        1 => list(name()).prop_map(|names| format!("DROP VIEW IF EXISTS {names} CASCADE")),
        1 => (name(), literal()).prop_map(|(n, _)| format!("SHOW CREATE TABLE {n}")),
    ]
    .boxed()
}

/// The same tokens with other white space and comments between, words in other case. `choices` decides, token by token.
fn mangle(text: &str, choices: &[u8]) -> String {
    let between = [" ", "\n", "\t ", " -- SELECT ;\n", " /* ' ; */ ", "  "];
    let mut mangled = String::new();
    let mut in_quotes = false;
    for (token, choice) in text.split(' ').zip(choices.iter().cycle()) {
        // A literal may hold a blank: what is within quotes stays as it is.
        let quotes = token.matches(['\'', '"', '`']).count();
        let opaque = in_quotes || quotes > 0;
        let word = if opaque || choice % 2 == 0 { token.to_owned() } else { swap_case(token) };
        mangled.push_str(&word);
        in_quotes ^= quotes % 2 == 1;
        mangled.push_str(if in_quotes { " " } else { between[usize::from(choice / 2) % between.len()] });
    }
    mangled
}

fn swap_case(word: &str) -> String {
    let swap = |c: char| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
    word.chars().map(swap).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn valid_statements_have_one_canonical_text(text in statement(), choices in proptest::collection::vec(any::<u8>(), 1..40)) {
        let parsed = parse(&text).map_err(|error| TestCaseError::fail(format!("{text}\n{error}")))?;
        prop_assert_eq!(parsed.len(), 1);
        let canonical = &parsed[0].text;
        let again = parse(canonical).map_err(|error| TestCaseError::fail(format!("{text}\n{canonical}\n{error}")))?;
        prop_assert_eq!(&again[0].text, canonical);
        let mangled = mangle(&text, &choices);
        let same = parse(&mangled).map_err(|error| TestCaseError::fail(format!("{mangled}\n{error}")))?;
        prop_assert_eq!(&same[0].text, canonical);
    }
}
