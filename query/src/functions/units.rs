//! Times and durations as people write them.

/// A time with zone, or a date, which is its midnight in UTC; nanoseconds since 1970.
pub(crate) fn timestamp_ns(text: &str) -> Option<i64> {
    let text = text.trim();
    let zoned = || text.parse::<jiff::Timestamp>().ok();
    let date = || {
        // A date and nothing else: more would be a time without zone.
        let date = (text.len() == 10).then(|| text.parse::<jiff::civil::Date>().ok())??;
        Some(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    };
    i64::try_from(zoned().or_else(date)?.as_nanosecond()).ok()
}

/// A signed decimal number with a unit, nanoseconds: `3.2s`.
pub(crate) fn duration_ns(text: &str) -> Option<i64> {
    let text = text.trim();
    let begin = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(begin);
    let unit_ns: i128 = match unit {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let (sign, number) = match number.strip_prefix('-') {
        Some(number) => (-1, number),
        None => (1, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.len() <= 18 && text.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
        return None;
    }
    let parsed = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<i128>().ok() };
    let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let number = parsed(whole)?.checked_mul(scale)?.checked_add(parsed(fraction)?)?;
    i64::try_from(sign * number.checked_mul(unit_ns)? / scale).ok()
}

/// RFC 3339 in UTC with 0, 3, 6 or 9 digits behind the point.
pub(crate) fn time_text(nanoseconds: i64) -> String {
    let Ok(time) = jiff::Timestamp::from_nanosecond(i128::from(nanoseconds)) else {
        return nanoseconds.to_string();
    };
    match nanoseconds {
        n if n % 1_000_000_000 == 0 => format!("{time:.0}"),
        n if n % 1_000_000 == 0 => format!("{time:.3}"),
        n if n % 1_000 == 0 => format!("{time:.6}"),
        _ => format!("{time:.9}"),
    }
}

/// The same in another time zone, with its offset.
pub(crate) fn time_text_in(nanoseconds: i64, zone: &jiff::tz::TimeZone) -> String {
    let Ok(time) = jiff::Timestamp::from_nanosecond(i128::from(nanoseconds)) else {
        return nanoseconds.to_string();
    };
    let zoned = time.to_zoned(zone.clone());
    let utc = time_text(nanoseconds);
    let fraction = utc.trim_end_matches('Z').split_once('.').map(|(_, fraction)| fraction);
    let point = fraction.map(|digits| format!(".{digits}")).unwrap_or_default();
    format!("{}{point}{}", zoned.strftime("%Y-%m-%dT%H:%M:%S"), zoned.strftime("%:z"))
}
