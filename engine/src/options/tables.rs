//! The options of every connector: the one place where their names, types, defaults and meanings stand.

use super::OptionKind::{Boolean, Character, CharacterOrNone, Duration, Integer, Number, OneOf, Size, Text};
use super::{ConnectorSpec, OptionKind, OptionSpec};

const fn option(name: &'static str, kind: OptionKind, default: Option<&'static str>, doc: &'static str) -> OptionSpec {
    OptionSpec { name, kind, default, doc }
}

const SPLITS: OptionSpec = option(
    "splits",
    Integer,
    Some("8"),
    "Number of parts that can be read in parallel; fixed for the table's life. The rows are the same for any number.",
);

const IDLE: OptionSpec = option(
    super::IDLE_TIMEOUT,
    Duration,
    None,
    "A part of the input that gives nothing for so long no longer holds the watermark back. Without it every part is waited for.",
);

const LATE: OptionSpec = option(
    super::LATE_TABLE,
    Text,
    None,
    "Rows that come behind the watermark are written into this table, which has the same columns and no key. Without it they are only counted.",
);

const FILESYSTEM: &[OptionSpec] = &[
    IDLE,
    LATE,
    option(
        "path",
        Text,
        None,
        "Required. A file, a directory (with all below it) or a glob pattern; relative paths start at the engine's base directory. Names that begin with `.` or `_` or end in `.tmp` are left out.",
    ),
    option(
        "format",
        OneOf(&["csv", "json", "parquet"]),
        None,
        "Required. `json` means one object per line. `csv` and `json` files may end in `.gz`.",
    ),
    option(
        "source.monitor-interval",
        Duration,
        None,
        "Look for new files this often and never end. Without it the table is what the files hold, once.",
    ),
    option(
        "source.split-size",
        Size,
        Some("16 mb"),
        "JSON files are cut into ranges of about this size, to be read in parallel.",
    ),
    option(
        "format.ignore-parse-errors",
        Boolean,
        Some("false"),
        "Skip and count malformed rows of CSV and JSON files instead of failing.",
    ),
    option(
        "csv.header",
        Boolean,
        Some("false"),
        "The first record of each file names the columns, which are then matched by name, not by position.",
    ),
    option("csv.field-delimiter", Character, Some(","), "Stands between fields."),
    option(
        "csv.quote-character",
        CharacterOrNone,
        Some("\""),
        "Encloses fields that hold delimiters or line breaks; doubled inside such a field it stands for itself.",
    ),
    option("csv.escape-character", CharacterOrNone, Some(""), "Inside quotes: takes the next character as it is."),
    option("csv.comment-character", CharacterOrNone, Some(""), "Lines that begin with it are left out."),
    option("csv.ignore-parse-errors", Boolean, None, "Flink's name for `format.ignore-parse-errors`."),
    option("json.ignore-parse-errors", Boolean, None, "Flink's name for `format.ignore-parse-errors`."),
    option("csv.allow-comments", Boolean, None, "Flink's way to say `'csv.comment-character' = '#'`."),
    option("csv.disable-quote-character", Boolean, None, "Flink's way to say `'csv.quote-character' = ''`."),
    option(
        "csv.null-literal",
        Text,
        None,
        "A field with exactly this text is NULL. An empty field of a column that is not text is NULL in any case.",
    ),
];

const NEXMARK: &[OptionSpec] = &[
    IDLE,
    LATE,
    option(
        "table",
        OneOf(&["bid", "auction", "person"]),
        None,
        "Required. Which of the three streams the table holds.",
    ),
    option(
        "events.num",
        Integer,
        None,
        "End after this many events, counted over all three streams (2 % persons, 6 % auctions, 92 % bids). Without it the stream never ends.",
    ),
    option(
        "event.rate",
        Integer,
        Some("10000"),
        "Events per second of event time, over all three streams; event time starts at 2015-07-15 00:00:00.",
    ),
    option(
        "events-per-second",
        Integer,
        None,
        "Events per second of wall-clock time, over all three streams. Without it as fast as they can be made.",
    ),
    SPLITS,
];

const DATAGEN: &[OptionSpec] = &[
    IDLE,
    LATE,
    option(
        "rows-per-second",
        Integer,
        Some("10000"),
        "How many rows appear per second; 0: as fast as they can be made.",
    ),
    option(
        "number-of-rows",
        Integer,
        None,
        "End after this many rows. Without it (and without a sequence that ends) the stream never ends.",
    ),
    option(
        "rate.shape",
        OneOf(&["constant", "sine"]),
        Some("constant"),
        "Whether the rate stays the same or swings around `rows-per-second`.",
    ),
    option(
        "rate.amplitude",
        Number,
        Some("0.5"),
        "For `sine`: how far the rate swings, as a share of `rows-per-second` between 0 and 1.",
    ),
    option("rate.period", Duration, Some("1 min"), "For `sine`: how long one swing takes."),
    option("seed", Integer, Some("0"), "Another seed gives other random values."),
    SPLITS,
    option(
        "fields.*.kind",
        OneOf(&["random", "sequence", "now"]),
        None,
        "How the column's values are made; `now` (for timestamps) is the time at which the row is made. Default: `sequence` for timestamps, else `random`.",
    ),
    option("fields.*.start", Text, None, "`sequence`: the first value (default 0, or 2020-01-01 00:00:00)."),
    option("fields.*.end", Text, None, "`sequence`: the last value, after which the stream ends."),
    option(
        "fields.*.step",
        Text,
        None,
        "`sequence`: the distance between values (default 1); for timestamps a duration (default: as `rows-per-second` has it, or 1 ms).",
    ),
    option("fields.*.min", Text, None, "`random`: the least value (default 0, or 2020-01-01 00:00:00)."),
    option(
        "fields.*.max",
        Text,
        None,
        "`random`: the greatest value (default: the type's greatest, 1 for floating point, one year after the least for times).",
    ),
    option("fields.*.length", Integer, Some("100"), "`random`: the length of text."),
    option("fields.*.null-rate", Number, Some("0"), "Share of NULLs between 0 and 1."),
];

const PRINT: &[OptionSpec] = &[option("print-identifier", Text, None, "Written before every line, with `> ` between.")];

/// Every connector.
pub const CONNECTORS: &[ConnectorSpec] = &[
    ConnectorSpec {
        name: "filesystem",
        doc: "Reads files of a local or mounted file system. A file must not change once it is visible: write elsewhere (or under a name that begins with `_`), then rename.",
        options: FILESYSTEM,
    },
    ConnectorSpec {
        name: "nexmark",
        doc: "Generates the events of the Nexmark benchmark, the same in every run.",
        options: NEXMARK,
    },
    ConnectorSpec {
        name: "datagen",
        doc: "Generates rows, the same in every run (columns of kind `now` excepted).",
        options: DATAGEN,
    },
    ConnectorSpec {
        name: "print",
        doc: "Writes changes to standard output, one line per row: `+I(...)` appears, `-D(...)` disappears.",
        options: PRINT,
    },
    ConnectorSpec { name: "blackhole", doc: "Takes changes and forgets them.", options: &[] },
];
