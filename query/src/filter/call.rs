//! The language's functions: those that are true or false, and those that make a value to compare.

use arrow::datatypes::DataType;
use datafusion::logical_expr::{Expr, ScalarUDF, col, lit};
use weir_flow::policy_action::LOG_ID;
use weir_flow::schema::columns;

use super::bind::{Binder, guarded, sure};
use super::entry::{NO_PROJECT, RESOURCE_TYPE};
use super::error::{Spanned, spanned};
use super::field::{Field, Kind};
use super::syntax::{Call, Comparable, Word};
use super::{Names, Test};
use crate::functions::convert::{self, Target, zone};
use crate::functions::fold::{fold, has_token, tokens};
use crate::functions::network::{ip_in_net, network};
use crate::functions::rows::{row_has, row_search};
use crate::functions::sample::{fraction, in_sample};
use crate::functions::text::{extracting_regex, regexp_extract, text_search};

const KNOWN: &str =
    "log_id(), source(), sample(), ip_in_net(), SEARCH(), cast() and regexp_extract()";

/// A function that is true or false.
pub(super) fn test(binder: &mut Binder<'_>, call: &Call) -> Result<Test, Spanned> {
    match (call.name.to_lowercase().as_str(), call.arguments.as_slice()) {
        ("log_id", [Comparable::Word(id)]) => Ok(sure(lit(id.text().eq_ignore_ascii_case(LOG_ID)))),
        ("log_id", _) => Err(usage(call, "log_id(\"policy-action\")")),
        ("source", [Comparable::Word(source)]) => {
            let project = binder.names.project.as_deref().unwrap_or(NO_PROJECT);
            Ok(sure(lit(source.text().eq_ignore_ascii_case(&format!("projects/{project}")))))
        }
        ("source", _) => Err(usage(call, "source(projects/PROJECT)")),
        ("sample", [value, Comparable::Word(part)]) => {
            let text = part.text();
            fraction(&text).map_err(|message| spanned(part.span, message))?;
            let field = binder.field(value)?;
            Ok(of_field(&field, |value| in_sample().call(vec![value, lit(text)])))
        }
        ("sample", _) => Err(usage(call, "sample(insertId, 0.1)")),
        ("ip_in_net", [value, Comparable::Word(net)]) => {
            let text = net.text();
            network(&text).map_err(|message| spanned(net.span, message))?;
            let field = textual(binder, value)?;
            Ok(of_field(&field, |value| ip_in_net().call(vec![value, lit(text)])))
        }
        ("ip_in_net", _) => Err(usage(call, "ip_in_net(source_ip, \"10.1.2.0/24\")")),
        ("search", [Comparable::Word(query)]) => {
            let words = searched(call, query)?;
            Ok(whole_row(&row_search(), words, binder.names))
        }
        ("search", [value, Comparable::Word(query)]) => {
            let words = searched(call, query)?;
            let field = textual(binder, value)?;
            Ok(of_field(&field, |value| text_search().call(vec![value, lit(words)])))
        }
        ("search", _) => Err(usage(call, "SEARCH(\"redis\") or SEARCH(source_pod, \"redis\")")),
        ("cast" | "regexp_extract", _) => {
            let message = format!(
                "{}() is a value: compare it with something, like {}(…)=\"…\"",
                call.name, call.name
            );
            Err(spanned(call.span, message))
        }
        _ => Err(unknown(call)),
    }
}

/// A function that makes a value.
pub(super) fn value(binder: &mut Binder<'_>, call: &Call) -> Result<Field, Spanned> {
    match (call.name.to_lowercase().as_str(), call.arguments.as_slice()) {
        ("cast", [value, Comparable::Word(to), zone @ ..]) if zone.len() < 2 => {
            let field = binder.field(value)?;
            let zone = zone.first().map(time_zone).transpose()?;
            cast(&field, value, to, zone)
        }
        ("cast", _) => Err(usage(call, "cast(timestamp, STRING)")),
        ("regexp_extract", [value, Comparable::Word(pattern)]) => {
            let text = pattern.text();
            extracting_regex(&text).map_err(|message| spanned(pattern.span, message))?;
            let field = textual(binder, value)?;
            Ok(mapped(&field, |value| {
                let expr = regexp_extract().call(vec![value, lit(text)]);
                Kind::Text { expr, words: &[] }
            }))
        }
        ("regexp_extract", _) => Err(usage(call, "regexp_extract(source_pod, \"^([a-z]+)-\")")),
        ("log_id" | "source" | "sample" | "ip_in_net" | "search", _) => {
            let message =
                format!("{}() is true or false: write it without a comparison", call.name);
            Err(spanned(call.span, message))
        }
        _ => Err(unknown(call)),
    }
}

fn cast(
    field: &Field,
    value: &Comparable,
    to: &Word,
    zone: Option<String>,
) -> Result<Field, Spanned> {
    let target = match to.text().to_uppercase().as_str() {
        "STRING" => Target::Text,
        "INT64" => Target::Integer,
        "FLOAT64" => Target::Float,
        "BOOL" => Target::Boolean,
        "TIMESTAMP" => Target::Time,
        "DURATION" => Target::Duration,
        other => {
            let message = format!(
                "there is no type {other}: use STRING, INT64, FLOAT64, BOOL, TIMESTAMP or DURATION"
            );
            return Err(spanned(to.span, message));
        }
    };
    if zone.is_some() && target != Target::Text {
        return Err(spanned(to.span, "a time zone goes with STRING only: remove it"));
    }
    let many =
        matches!(field.kind, Kind::Texts(_) | Kind::Labels(_) | Kind::Object(_) | Kind::Unset);
    if many {
        return Err(spanned(value.span(), "what has parts cannot be cast: name one part"));
    }
    if matches!(field.kind, Kind::Time(_)) && !matches!(target, Target::Text | Target::Time) {
        return Err(spanned(to.span, "a time can be cast to STRING only"));
    }
    Ok(mapped(field, |value| {
        let zone = zone.map(lit);
        let expr = convert::function(target).call([value].into_iter().chain(zone).collect());
        match target {
            Target::Text => Kind::Text { expr, words: &[] },
            Target::Integer => Kind::Integer(expr),
            Target::Float => Kind::Float(expr),
            Target::Boolean => Kind::Boolean(expr),
            Target::Time => Kind::Time(expr),
            Target::Duration => Kind::Duration(expr),
        }
    }))
}

/// `TIMEZONE("America/New_York")`
fn time_zone(argument: &Comparable) -> Result<String, Spanned> {
    if let Comparable::Call(call) = argument
        && call.name.eq_ignore_ascii_case("timezone")
        && let [Comparable::Word(name)] = call.arguments.as_slice()
    {
        zone(&name.text()).map_err(|message| spanned(name.span, message))?;
        return Ok(name.text());
    }
    Err(spanned(argument.span(), "a time zone is written TIMEZONE(\"America/New_York\")"))
}

/// A text found in any field.
pub(super) fn anywhere(names: &Names, text: &str) -> Test {
    whole_row(&row_has(), text.to_owned(), names)
}

/// Over all columns with texts, and what all entries have.
fn whole_row(function: &ScalarUDF, text: String, names: &Names) -> Test {
    let project = names.project.as_deref().unwrap_or(NO_PROJECT);
    let log_name = format!("projects/{project}/logs/{LOG_ID}");
    let location = names.location.as_deref().unwrap_or_default();
    let constants = [log_name.as_str(), RESOURCE_TYPE, location];
    let everywhere = match function.name() {
        "row_has" => constants.iter().any(|own| fold(own).contains(fold(&text).as_ref())),
        _ => {
            let tokens = tokens(&text);
            tokens.iter().all(|token| constants.iter().any(|own| has_token(own, token)))
        }
    };
    if everywhere {
        return sure(lit(true));
    }
    let constants = constants.map(lit);
    // Words of a search may be in what all entries have, a part that is in none of it is not.
    let constants = constants.into_iter().filter(|_| function.name() != "row_has");
    let columns = columns().iter().filter(|column| is_searched(&column.data_type, column.name));
    let columns = columns.map(|column| col(column.name));
    sure(function.call([lit(text)].into_iter().chain(columns).chain(constants).collect()))
}

fn is_searched(data_type: &DataType, name: &str) -> bool {
    let text =
        matches!(data_type, DataType::Dictionary(..) | DataType::List(_) | DataType::Map(..));
    (text && name != "connection_id") || name.ends_with("_port")
}

fn searched(call: &Call, query: &Word) -> Result<String, Spanned> {
    let text = query.text();
    if tokens(&text).is_empty() {
        return Err(spanned(call.span, "a search needs a word: write SEARCH(\"redis\")"));
    }
    Ok(text)
}

/// A field that has texts.
fn textual(binder: &mut Binder<'_>, value: &Comparable) -> Result<Field, Spanned> {
    let field = binder.field(value)?;
    let text = matches!(
        field.kind,
        Kind::Missing
            | Kind::Unset
            | Kind::Text { .. }
            | Kind::Texts(_)
            | Kind::Cases(_)
            | Kind::Constant { .. }
    );
    if !text {
        return Err(spanned(value.span(), "this field is no text: use cast(…, STRING)"));
    }
    Ok(field)
}

/// A test of the field's value; what has none does not pass.
fn of_field(field: &Field, test: impl FnOnce(Expr) -> Expr) -> Test {
    match field.value() {
        Some(value) => guarded(field, sure(test(value))),
        None => sure(lit(false)),
    }
}

/// A value made of the field's.
fn mapped(field: &Field, map: impl FnOnce(Expr) -> Kind) -> Field {
    match field.value() {
        Some(value) => Field { guards: field.guards.clone(), kind: map(value) },
        None => Field::missing(),
    }
}

fn usage(call: &Call, example: &str) -> Spanned {
    spanned(call.span, format!("{}() has other arguments: write {example}", call.name))
}

fn unknown(call: &Call) -> Spanned {
    spanned(call.span, format!("there is no function {}(): there are {KNOWN}", call.name))
}
