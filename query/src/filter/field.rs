//! What names in a filter mean: columns of `flows`, and fields of log entries.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, col, lit};
use weir_flow::Column;
use weir_flow::schema::columns;
use weir_flow::values::{Direction, EndpointKind, Reason, State, Verdict};

use super::Names;
use super::error::{Spanned, spanned};
use super::syntax::Word;
use super::{entry, payload};
use crate::catalog::names as spelling;
use crate::functions::labels::{POLICY_FIELDS, label, policy_field};

/// A field, and when a row has it.
#[derive(Clone, Debug)]
pub(super) struct Field {
    /// Conditions without which the row does not have it.
    pub(super) guards: Vec<Expr>,
    pub(super) kind: Kind,
}

/// What kind of value a field has.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// No row has it.
    Missing,
    /// Every row has the same; `set` says whether it counts as present.
    Constant { value: Constant, set: bool },
    /// A text, null where the row does not have it; `words` are all there are, if that is known.
    Text { expr: Expr, words: &'static [&'static str] },
    /// A list of texts.
    Texts(Expr),
    /// One of a few texts, by conditions of which exactly one is true.
    Cases(Vec<(&'static str, Expr)>),
    /// A number of a column.
    Number(&'static Column),
    /// A whole number, null where the row does not have it.
    Integer(Expr),
    /// A number with a fraction, likewise.
    Float(Expr),
    /// A truth, likewise.
    Boolean(Expr),
    /// Nanoseconds, likewise.
    Duration(Expr),
    /// A time, likewise.
    Time(Expr),
    /// Labels by key.
    Labels(Expr),
    /// Has the fields of these names.
    Object(Vec<String>),
    /// An object that no row has, of which fields are known.
    Unset,
}

/// What every row has.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Constant {
    Text(String),
    Number(f64),
    Boolean(bool),
    /// Nanoseconds since 1970.
    Time(i64),
    /// Nanoseconds.
    Duration(i64),
    /// The number behind its name.
    Severity(i64),
}

impl Field {
    pub(super) fn of(kind: Kind) -> Self {
        Self { guards: vec![], kind }
    }

    pub(super) fn text(column: &str) -> Self {
        Self::of(Kind::Text { expr: col(column), words: &[] })
    }

    pub(super) fn constant(value: Constant) -> Self {
        Self::of(Kind::Constant { value, set: true })
    }

    pub(super) fn default(value: Constant) -> Self {
        Self::of(Kind::Constant { value, set: false })
    }

    pub(super) fn missing() -> Self {
        Self::of(Kind::Missing)
    }

    pub(super) fn guarded(mut self, guard: Expr) -> Self {
        self.guards.push(guard);
        self
    }

    /// Its value as an expression; `None` if it has none, or many.
    pub(super) fn value(&self) -> Option<Expr> {
        Some(match &self.kind {
            Kind::Text { expr, .. }
            | Kind::Texts(expr)
            | Kind::Integer(expr)
            | Kind::Float(expr)
            | Kind::Boolean(expr)
            | Kind::Duration(expr)
            | Kind::Time(expr) => expr.clone(),
            Kind::Number(column) => col(column.name),
            Kind::Cases(cases) => {
                let (last, others) = cases.split_last()?;
                let when = |(text, condition): &(&str, Expr)| {
                    (Box::new(condition.clone()), Box::new(lit(*text)))
                };
                Expr::Case(datafusion::logical_expr::expr::Case {
                    expr: None,
                    when_then_expr: others.iter().map(when).collect(),
                    else_expr: Some(Box::new(lit(last.0))),
                })
            }
            Kind::Constant { value, .. } => match value {
                Constant::Text(text) => lit(text.as_str()),
                Constant::Number(number) => lit(*number),
                Constant::Boolean(truth) => lit(*truth),
                Constant::Time(time) => {
                    lit(ScalarValue::TimestampNanosecond(Some(*time), Some("UTC".into())))
                }
                Constant::Duration(duration) => lit(*duration),
                Constant::Severity(_) => return None,
            },
            Kind::Missing | Kind::Labels(_) | Kind::Object(_) | Kind::Unset => return None,
        })
    }
}

/// Finds what a name means. Warns of names that no row can have.
pub(super) fn resolve(
    word: &Word,
    names: &Names,
    warnings: &mut Vec<Spanned>,
) -> Result<Field, Spanned> {
    let path: Vec<&str> = word.parts.iter().map(|part| part.text.as_str()).collect();
    let Some((first, rest)) = path.split_first() else {
        return Err(spanned(word.span, "a field is missing here"));
    };
    if rest.iter().any(|part| part.is_empty()) {
        return Err(spanned(word.span, "a part of this name is empty: remove a point"));
    }
    let unknown = |known: Vec<String>| {
        let text = word.text();
        let known = known.iter().map(String::as_str);
        match spelling::nearest(&text, known) {
            Some(near) => format!("there is no field `{text}`: did you mean `{near}`?"),
            None => format!("there is no field `{text}`: GET /api/v1/schema lists the fields"),
        }
    };
    if let Some(field) = native(first, rest) {
        return field.map_err(|message| spanned(word.span, message));
    }
    match entry::field(first, rest, names) {
        Some(entry::Found::Field(field)) => Ok(field),
        Some(entry::Found::NoSuchKey(known)) => {
            let message = unknown(known);
            warnings.push(spanned(word.span, format!("{message} No row has this one")));
            Ok(Field::missing())
        }
        Some(entry::Found::Undefined(known)) => Err(spanned(word.span, unknown(known))),
        None => Err(spanned(word.span, unknown(self::names()))),
    }
}

/// A column, or a part of one.
fn native(first: &str, rest: &[&str]) -> Option<Result<Field, String>> {
    let column = columns().iter().find(|column| column.name.eq_ignore_ascii_case(first))?;
    let name = column.name;
    Some(match (&column.data_type, rest) {
        (DataType::Map(..), []) => Ok(Field::of(Kind::Labels(col(name)))),
        (DataType::Map(..), key) => Ok(label_of(col(name), &key.join("."))),
        (DataType::List(item), []) if matches!(item.data_type(), DataType::Struct(_)) => {
            let fields = POLICY_FIELDS.map(|field| format!("{name}.{field}"));
            Ok(Field::of(Kind::Object(fields.into())))
        }
        (DataType::List(item), [field]) if matches!(item.data_type(), DataType::Struct(_)) => {
            policies(field).ok_or_else(|| {
                let known = POLICY_FIELDS.join(", ");
                format!("`{name}` has no `{field}`: it has {known}")
            })
        }
        (_, [_, ..]) => Err(format!("`{name}` has no parts: write `{name}` alone")),
        (DataType::List(_), []) => Ok(Field::of(Kind::Texts(col(name)))),
        (DataType::Timestamp(..), []) => Ok(Field::of(Kind::Time(col(name)))),
        (DataType::UInt8 | DataType::UInt16 | DataType::UInt64, []) => {
            Ok(Field::of(Kind::Number(column)))
        }
        (_, []) => Ok(Field::of(Kind::Text { expr: col(name), words: words(name) })),
    })
}

/// A label by its key.
pub(super) fn label_of(labels: Expr, key: &str) -> Field {
    let expr = label().call(vec![labels, lit(key)]);
    Field::of(Kind::Text { expr, words: &[] })
}

/// One field of the policies that decided.
pub(super) fn policies(field: &str) -> Option<Field> {
    let field = POLICY_FIELDS.into_iter().find(|known| *known == field)?;
    Some(Field::of(Kind::Texts(policy_field().call(vec![col("policies"), lit(field)]))))
}

/// All values of a column of which there are only a few.
fn words(column: &str) -> &'static [&'static str] {
    match column {
        "direction" => Direction::WORDS,
        "verdict" => Verdict::WORDS,
        "reason" => Reason::WORDS,
        "state" => State::WORDS,
        "source_kind" | "destination_kind" => EndpointKind::WORDS,
        _ => &[],
    }
}

/// A field whose values can be listed.
#[derive(Clone, Debug)]
pub(crate) struct Facet {
    /// As it was asked for.
    pub(crate) name: String,
    /// Its value; null in rows that have none.
    pub(crate) expr: Expr,
    /// Whether it is a number.
    pub(crate) number: bool,
}

impl Facet {
    /// By the name of a column, or of a label as `source_labels.KEY`; or what is wrong with the name.
    pub(crate) fn of(name: &str) -> Result<Self, String> {
        let unknown = || {
            let listed = columns().iter().filter(|column| is_listed(column));
            match spelling::nearest(name, listed.map(|column| column.name)) {
                Some(near) => format!("there is no field `{name}`: did you mean `{near}`?"),
                None => format!("there is no field `{name}`: GET /api/v1/schema lists the fields"),
            }
        };
        let (first, rest) = match name.split_once('.') {
            Some((first, key)) => (first, vec![key.trim_matches('"')]),
            None => (name, vec![]),
        };
        let field = native(first, &rest).ok_or_else(unknown)??;
        let (expr, number) = match field.kind {
            Kind::Text { expr, .. } => (expr, false),
            Kind::Number(column) => (col(column.name), true),
            Kind::Labels(_) => {
                return Err(format!("`{name}` has many labels: name one, as in `{name}.app`"));
            }
            Kind::Texts(_) | Kind::Object(_) if first.eq_ignore_ascii_case("policies") => {
                return Err(format!(
                    "`{name}` is a list: ask for `policy`, which has them as a text"
                ));
            }
            _ => {
                return Err(format!(
                    "the values of `{name}` cannot be listed: use POST /api/v1/sql for these"
                ));
            }
        };
        Ok(Self { name: name.to_owned(), expr, number })
    }
}

/// Whether the values of a column can be listed.
fn is_listed(column: &Column) -> bool {
    matches!(
        column.data_type,
        DataType::Dictionary(..)
            | DataType::Utf8
            | DataType::UInt8
            | DataType::UInt16
            | DataType::UInt64
    )
}

/// Whether a filter may compare the column as a whole.
pub(crate) fn filterable(column: &Column) -> bool {
    match &column.data_type {
        DataType::Map(..) => false,
        DataType::List(item) => !matches!(item.data_type(), DataType::Struct(_)),
        _ => true,
    }
}

/// All names that a filter may compare but labels.
pub(crate) fn names() -> Vec<String> {
    let native = columns().iter().filter(|column| filterable(column));
    let native = native.map(|column| column.name.to_owned());
    let policies = POLICY_FIELDS.map(|field| format!("policies.{field}"));
    let payload = payload::PATHS.iter().map(|path| format!("jsonPayload.{path}"));
    let entry = entry::NAMES.iter().map(|name| (*name).to_owned());
    native.chain(policies).chain(entry).chain(payload).collect()
}
