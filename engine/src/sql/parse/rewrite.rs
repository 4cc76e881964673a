//! Forms of expressions that the field writes and the planner does not know, as forms that it does.
//!
//! | written | planned as |
//! | --- | --- |
//! | `MOD(a, b)` | `a % b` |
//! | `a ^ b` | `power(a, b)`, as in PostgreSQL |
//! | `~ a` | `-1 # a` |
//! | `CAST(x AS VARCHAR(n))` | `left(CAST(x AS VARCHAR), n)` |
//! | `CAST(0.1 AS DECIMAL(p, s))` | `CAST('0.1' AS DECIMAL(p, s))` |
//! | `CAST(x AS UUID)`, `UUID '...'` | `frazil_uuid(x, TRY)` |
//! | `FLOOR(ts TO HOUR)`, `CEIL(ts TO HOUR)` | `date_trunc('hour', ts)`, `date_ceil('hour', ts)` |
//! | `INTERVAL '1-6' YEAR TO MONTH`, `INTERVAL '1 02:30' DAY TO MINUTE` | `INTERVAL '1 years 6 months'` and so on |
//! | `INTERVAL '1 day 04:05:06'` | `INTERVAL '1 day 04 hours 05 minutes 06 seconds'` |
//! | `x SIMILAR TO 'p%'` | `x ~ '^(?:p.*)$'` |
//! | `IF(c, a, b)` | `CASE WHEN c THEN a ELSE b END` |
//! | `TIMESTAMPADD(DAY, n, ts)`, `TIMESTAMPDIFF(DAY, a, b)` | the same with `'day'` |
//! | names of Flink | those of [`RENAMED`] and [`AGGREGATES`] |

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, CastKind, CeilFloorKind, CharacterLength, DataType, DateTimeField, Expr, Function,
    FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, ObjectName, UnaryOperator, Value,
};

use super::cursor::position;
use super::intervals;
use crate::error::{Error, Result};

/// Functions under other names, with the order of their arguments.
const RENAMED: [(&str, &str, &[usize]); 15] = [
    ("sign", "signum", &[0]),
    ("ceiling", "ceil", &[0]),
    ("truncate", "trunc", &[0, 1]),
    ("locate", "strpos", &[1, 0]),
    ("regexp", "regexp_like", &[0, 1]),
    ("to_base64", "encode", &[0]),
    ("from_base64", "decode", &[0]),
    ("map_from_arrays", "map", &[0, 1]),
    ("array_upper", "array_length", &[0, 1]),
    ("unix_timestamp", "to_unixtime", &[0]),
    ("gen_random_uuid", "uuid", &[]),
    ("array_cat", "array_concat", &[0, 1]),
    ("char_size", "char_length", &[0]),
    ("array_size", "cardinality", &[0]),
    ("ifnull", "coalesce", &[0, 1]),
];

/// Aggregates under other names.
const AGGREGATES: [(&str, &str); 4] = [
    ("every", "bool_and"),
    ("any_value", "min"),
    ("listagg", "string_agg"),
    ("approx_count_distinct", "approx_distinct"),
];

/// Rewrites one expression; its parts are visited afterwards.
pub(super) fn expression(expr: &mut Expr) -> Result<()> {
    let rewritten = match expr {
        Expr::Function(function) => self::function(function),
        Expr::BinaryOp { left, op: BinaryOperator::PGExp, right } => {
            Some(call("power", vec![(**left).clone(), (**right).clone()]))
        }
        Expr::UnaryOp { op: UnaryOperator::BitwiseNot, expr: operand } => {
            let ones = Box::new(Expr::UnaryOp { op: UnaryOperator::Minus, expr: Box::new(number("1")) });
            let right = Box::new(Expr::Nested(operand.clone()));
            let xor = Expr::BinaryOp { left: ones, op: BinaryOperator::PGBitwiseXor, right };
            Some(Expr::Nested(Box::new(xor)))
        }
        Expr::Cast {
            kind: CastKind::Cast | CastKind::DoubleColon,
            expr: operand,
            data_type: DataType::Interval { fields: None, .. },
            ..
        } => intervals::timed(operand)?,
        Expr::Cast { kind, expr: operand, data_type, .. } => cast(kind, operand, data_type),
        Expr::TypedString(typed) if matches!(typed.data_type, DataType::Uuid) => {
            let text = Expr::Value(typed.value.clone());
            Some(call("frazil_uuid", vec![text, Expr::value(Value::Boolean(false))]))
        }
        Expr::Floor { expr: operand, field: CeilFloorKind::DateTimeField(field) } => unit(field, operand, "date_trunc"),
        Expr::Ceil { expr: operand, field: CeilFloorKind::DateTimeField(field) } => unit(field, operand, "date_ceil"),
        Expr::Interval(interval) => intervals::interval(interval)?,
        Expr::SimilarTo { negated, expr: operand, pattern, escape_char } => {
            let pattern = regular(pattern, escape_char.is_some())?;
            let op = if *negated { BinaryOperator::PGRegexNotMatch } else { BinaryOperator::PGRegexMatch };
            let matches = Expr::BinaryOp { left: operand.clone(), op, right: Box::new(text(&pattern)) };
            Some(Expr::Nested(Box::new(matches)))
        }
        _ => None,
    };
    if let Some(rewritten) = rewritten {
        *expr = rewritten;
    }
    Ok(())
}

/// The plain arguments of a call, if it has no others.
fn plain_arguments(function: &Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = &function.args else { return None };
    if !list.clauses.is_empty() || list.duplicate_treatment.is_some() || function.over.is_some() {
        return None;
    }
    let plain = |arg: &FunctionArg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    list.args.iter().map(plain).collect()
}

/// The call with everything that belongs to it, such as FILTER and OVER.
fn aggregate(function: &Function) -> Option<Expr> {
    let name = function.name.to_string();
    let (from, to) = AGGREGATES.iter().find(|(from, _)| *from == name)?;
    let mut function = function.clone();
    function.name = ObjectName::from(vec![Ident::new(*to)]);
    if let FunctionArguments::List(list) = &mut function.args
        && *from == "listagg"
        && list.args.len() == 1
    {
        list.args.push(FunctionArg::Unnamed(FunctionArgExpr::Expr(text(","))));
    }
    Some(Expr::Function(function))
}

fn function(function: &Function) -> Option<Expr> {
    if let Some(aggregate) = aggregate(function) {
        return Some(aggregate);
    }
    let name = function.name.to_string();
    let args = plain_arguments(function)?;
    match (name.as_str(), args.as_slice()) {
        ("mod", [left, right]) => {
            let nested = |operand: &Expr| Box::new(Expr::Nested(Box::new(operand.clone())));
            let op = BinaryOperator::Modulo;
            Some(Expr::Nested(Box::new(Expr::BinaryOp { left: nested(left), op, right: nested(right) })))
        }
        ("if", [condition, result, otherwise]) => Some(Expr::Case {
            case_token: AttachedToken::empty(),
            end_token: AttachedToken::empty(),
            operand: None,
            conditions: vec![CaseWhen { condition: condition.clone(), result: result.clone() }],
            else_result: Some(Box::new(otherwise.clone())),
        }),
        ("timestampadd" | "timestampdiff", [Expr::Identifier(unit), first, second]) => {
            Some(call(&name, vec![text(&unit.value), first.clone(), second.clone()]))
        }
        ("encode", [bytes, Expr::Value(format)]) if format.value == Value::SingleQuotedString("base64".to_owned()) => {
            // DataFusion's base64 has no padding.
            Some(call("encode", vec![bytes.clone(), text("base64pad")]))
        }
        (name, args) => {
            let (from, to, order) =
                RENAMED.iter().find(|(from, _, order)| *from == name && order.len() == args.len())?;
            let mut args: Vec<Expr> = order.iter().map(|place| args[*place].clone()).collect();
            match *from {
                "to_base64" => args.push(text("base64pad")),
                "from_base64" => args.push(text("base64")),
                _ => {}
            }
            Some(call(to, args))
        }
    }
}

fn cast(kind: &CastKind, operand: &Expr, data_type: &DataType) -> Option<Expr> {
    let tries = !matches!(kind, CastKind::Cast | CastKind::DoubleColon);
    let length = match data_type {
        DataType::Uuid => {
            let text = Expr::Cast {
                kind: kind.clone(),
                expr: Box::new(operand.clone()),
                data_type: DataType::Varchar(None),
                array: false,
                format: None,
            };
            return Some(call("frazil_uuid", vec![text, Expr::value(Value::Boolean(tries))]));
        }
        DataType::Varchar(Some(length))
        | DataType::CharacterVarying(Some(length))
        | DataType::CharVarying(Some(length))
        | DataType::Char(Some(length))
        | DataType::Character(Some(length)) => length,
        DataType::Decimal(_) | DataType::Numeric(_) | DataType::Dec(_) => {
            let (kind, data_type) = (kind.clone(), data_type.clone());
            let expr = Box::new(digits(operand)?);
            return Some(Expr::Cast { kind, expr, data_type, array: false, format: None });
        }
        _ => return None,
    };
    let CharacterLength::IntegerLength { length, .. } = length else { return None };
    let whole = Expr::Cast {
        kind: kind.clone(),
        expr: Box::new(operand.clone()),
        data_type: DataType::Varchar(None),
        array: false,
        format: None,
    };
    Some(call("left", vec![whole, number(&length.to_string())]))
}

/// A number as text, so that none of its digits is lost on the way to a decimal.
pub(in crate::sql) fn digits(expr: &Expr) -> Option<Expr> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => Some(text(digits)),
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match digits(expr)? {
            Expr::Value(value) => match value.value {
                Value::SingleQuotedString(digits) if !digits.starts_with('-') => Some(text(&format!("-{digits}"))),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

fn unit(field: &DateTimeField, operand: &Expr, function: &str) -> Option<Expr> {
    match field {
        DateTimeField::NoDateTime => None,
        field => Some(call(function, vec![text(&field.to_string().to_lowercase()), operand.clone()])),
    }
}

/// The regular expression for a pattern of SIMILAR TO: it matches the whole text, `%` is any text, `_` any character.
fn regular(pattern: &Expr, escape: bool) -> Result<String> {
    let literal = match pattern {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) if !escape => Some(text),
            _ => None,
        },
        _ => None,
    };
    let Some(literal) = literal else {
        let span = datafusion::sql::sqlparser::ast::Spanned::span(pattern);
        return Err(Error::sql("SIMILAR TO takes a literal pattern, without ESCAPE")
            .hint("use a regular expression: x ~ pattern")
            .at(position(span.start)));
    };
    let mut regular = String::from("^(?:");
    let mut characters = literal.chars();
    while let Some(character) = characters.next() {
        match character {
            '%' => regular.push_str(".*"),
            '_' => regular.push('.'),
            '.' | '^' | '$' => regular.extend(['\\', character]),
            '\\' => {
                regular.push('\\');
                regular.extend(characters.next());
            }
            other => regular.push(other),
        }
    }
    regular.push_str(")$");
    Ok(regular)
}

/// The call of a function.
pub fn call(name: &str, args: Vec<Expr>) -> Expr {
    let args = args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect();
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: vec![] }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}

fn text(text: &str) -> Expr {
    Expr::value(Value::SingleQuotedString(text.to_owned()))
}

fn number(digits: &str) -> Expr {
    Expr::value(Value::Number(digits.to_owned(), false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_similar_to() {
        assert_eq!(regular(&text("a%_b.c"), false).unwrap(), "^(?:a.*.b\\.c)$");
        assert_eq!(regular(&text("(a|b)+\\%"), false).unwrap(), "^(?:(a|b)+\\%)$");
        assert!(regular(&number("1"), false).is_err());
    }
}
